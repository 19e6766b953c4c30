"""Tables and files for a replay's results, accessed with Airflow's connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow_whatsapp_flows.errors import ReplayError, SourceError
from airflow_whatsapp_flows.hooks.sources import AirflowAccess, ConnectionDatabase
from airflow_whatsapp_flows.replay.export import TableTarget, Target, file_at_url, table_at_url
from airflow_whatsapp_flows.replay.export.drivers import reason_of, session

ResultsTo = Mapping[str, str] | str
"""``{"connection": …, "table": …}``, or the location of a file."""


def target_from_airflow(results_to: ResultsTo) -> Target:
    """Return the table or file of ``results_to``; nothing is opened.

    Args:
        results_to: with the id of an Airflow connection, or a database URL; a file's path or URL may name one, as in
            ``s3://my_conn@bucket/results.parquet``.

    Raises:
        ReplayError: it is neither, or the connection does not exist or is no database.
    """
    try:
        if isinstance(results_to, str):
            return file_at_url(results_to, AirflowAccess().storage)
        if not isinstance(results_to, Mapping) or {*results_to} != {"connection", "table"}:
            raise ReplayError('it must be {"connection": "…", "table": "…"}, or the location of a file')
        connection, table = str(results_to["connection"]), str(results_to["table"])
        if not connection.strip() or not table.strip():
            raise ReplayError("the connection or the table is empty")
        return table_at_url(connection, table) if "://" in connection else _table_of(connection, table)
    except (ReplayError, SourceError) as error:
        raise ReplayError(f"results_to: {error}") from None


def _table_of(conn_id: str, table: str) -> TableTarget:
    database = ConnectionDatabase(conn_id, creates_file=True)

    @contextmanager
    def open_session() -> Iterator[Any]:
        try:
            with database.connect() as connection, session(connection) as used:
                yield used
        except SourceError as error:
            raise ReplayError(str(error)) from None

    def reason(error: Exception) -> str:
        return database.reason(Exception(reason_of(error)))

    return TableTarget(database.name, table, open_session, reason, conn_id)
