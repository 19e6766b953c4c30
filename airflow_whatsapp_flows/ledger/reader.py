"""A ledger that is only looked at, such as by a page: looking neither creates nor upgrades it."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.engine import (
    display_url,
    is_missing_file,
    open_file,
    read_only_engine,
    read_url,
    server_engine,
    table_version,
)
from airflow_whatsapp_flows.ledger.upgrade import check_version

_BUSY_SECONDS = 2.0
"""A reader waits for nobody but a process that has the whole file locked; somebody is looking at the page meanwhile."""


class MissingLedgerError(LedgerError):
    """There is no ledger yet."""


class LedgerReader(Ledger):
    """An existing ledger of this release's version, for functions that read.

    Args:
        url: SQLAlchemy URL of the ledger.

    Raises:
        MissingLedgerError: there is none.
        LedgerError: it cannot be read, or has another version.
    """

    def __init__(self, url: str) -> None:
        if is_missing_file(url):
            raise _missing_error(display_url(read_url(url)))
        super().__init__(url)
        self.is_read_only = True

    def _make_engine(self) -> Engine:
        file = self.file
        if file is None:
            return server_engine(self._url)
        if self.is_read_only:
            return read_only_engine(file)

        def connect() -> sqlite3.Connection:
            connection = open_file(file, "mode=rw", timeout=_BUSY_SECONDS)  # read-only, it could not open a closed log
            connection.isolation_level = None
            connection.execute("PRAGMA query_only=ON")
            return connection

        return create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool)

    def _prepare(self) -> None:
        with self.read() as connection:
            found = table_version(connection)
        if found is None:
            raise _missing_error(self.display_url)
        check_version(found, self.display_url)


def _missing_error(shown: str) -> MissingLedgerError:
    return MissingLedgerError(f"there is no ledger in {shown} yet; the first replay or task creates it")
