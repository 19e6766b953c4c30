"""The PostgreSQL dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, select, text

from airflow_whatsapp_flows.ledger.dialects.dialect import Dialect


class _Postgresql:
    shared_lock = " FOR SHARE"
    needs_statistics = True

    def begin(self, connection: Connection) -> None:
        """Do nothing: the driver starts transactions."""

    def lock_until_commit(self, connection: Connection, number: int) -> None:
        connection.execute(select(func.pg_advisory_xact_lock(number)))

    def run_for_rows(
        self, connection: Connection, for_each: str, for_all: str, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        connection.exec_driver_sql(for_all, tuple([list(column) for column in zip(*rows, strict=True)]))

    def clock(self, connection: Connection) -> float:
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    def clock_scope(self) -> str:
        return ""

    def text_before(self, column: ColumnElement[Any], mark: str) -> ColumnElement[str]:
        return func.split_part(column, mark, 1)

    def refresh_statistics(self, connection: Connection, table: Table) -> None:
        connection.exec_driver_sql(f"ANALYZE {table.name}")

    def give_back_room(self, connection: Connection, tables: Sequence[str]) -> None:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in tables:
            alone.execute(text(f"VACUUM {table}"))


POSTGRESQL: Dialect = _Postgresql()
