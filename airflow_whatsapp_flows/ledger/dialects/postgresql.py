"""The PostgreSQL dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Table, Text, any_, func, literal, select, text

from airflow_whatsapp_flows.ledger.dialects.dialect import Dialect, RowsWork


def _array(column: Sequence[Any]) -> list[Any]:
    """Return a column as the driver accepts it: integers among floats become floats."""
    if float in (kinds := set(map(type, column))) and int in kinds:
        return [float(value) if type(value) is int else value for value in column]
    return list(column)


class _Postgresql:
    shared_lock = " FOR SHARE"
    needs_statistics = True

    def begin(self, connection: Connection) -> None:
        """Do nothing: the driver starts transactions."""

    def lock_until_commit(self, connection: Connection, number: int) -> None:
        connection.execute(select(func.pg_advisory_xact_lock(number)))

    def run_for_rows(self, connection: Connection, work: Sequence[RowsWork]) -> None:
        if not work:
            return
        *others, last = work
        # One statement, so one round trip.
        before = ", ".join(f"work_{number} AS ({one.for_all})" for number, one in enumerate(others))
        values = tuple([_array(column) for one in work for column in zip(*one.rows, strict=True)])
        connection.exec_driver_sql(f"WITH {before} {last.for_all}" if before else last.for_all, values)

    def clock(self, connection: Connection) -> float:
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    def clock_scope(self) -> str:
        return ""

    def is_one_of(self, column: ColumnElement[Any], texts: Sequence[str]) -> ColumnElement[bool]:
        return column == any_(literal(list(texts), ARRAY(Text)))

    def text_before(self, column: ColumnElement[Any], mark: str) -> ColumnElement[str]:
        return func.split_part(column, mark, 1)

    def refresh_statistics(self, connection: Connection, table: Table) -> None:
        connection.exec_driver_sql(f"ANALYZE {table.name}")

    def give_back_room(self, connection: Connection, tables: Sequence[str]) -> None:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in tables:
            alone.execute(text(f"VACUUM {table}"))


POSTGRESQL: Dialect = _Postgresql()
