"""Where results are written: a table, or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import sqlalchemy as sa

from airflow_whatsapp_flows.errors import FlowsError, ReplayError
from airflow_whatsapp_flows.flow.format.replay import RESULT_FILES
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.results import ContactResult
from airflow_whatsapp_flows.ledger.urls import hide_password
from airflow_whatsapp_flows.replay.export.drivers import reason_of
from airflow_whatsapp_flows.replay.export.files import contacts_path, write_files
from airflow_whatsapp_flows.replay.export.rows import Written, WrittenBy, batches
from airflow_whatsapp_flows.replay.export.tables import write_tables
from airflow_whatsapp_flows.replay.sources.files import Storage, hide_credentials
from airflow_whatsapp_flows.replay.sources.sql import database_url

Session = Callable[[], AbstractContextManager[sa.Connection]]


class Target(Protocol):
    """Where results are written."""

    name: str
    """For people, without passwords."""
    places: Sequence[tuple[str, str | None]]
    """Each table with the URL of its database, or each file and ``None``; without passwords."""

    def write(self, replay: Replay, results: Iterable[ContactResult], written_by: WrittenBy) -> Written:
        """Write one row for each visit of an action, and one for each contact without any; and one for each contact.

        Rows of the same contacts are replaced. Stopped at any point, it has written nothing, or can be repeated.

        Raises:
            ReplayError: they cannot be written.
            LedgerError: the results cannot be read.
        """


class TableTarget:
    """A table, and the table of contacts beside it.

    Args:
        database: its URL, without passwords.
        table: its name, ``results`` or ``schema.results``.
        session: opens a connection to the database.
        reason: returns the message of an error, without passwords.
        connection: id of the Airflow connection of the database, if it has one.
    """

    def __init__(
        self,
        database: str,
        table: str,
        session: Session,
        reason: Callable[[Exception], str] = reason_of,
        connection: str | None = None,
    ) -> None:
        self.name = f"the table {table!r} of {database}" + (f" (connection {connection!r})" if connection else "")
        self.places: Sequence[tuple[str, str | None]] = [(database, table), (database, f"{table}_contacts")]
        self._table = table
        self._session = session
        self._reason = reason

    def write(self, replay: Replay, results: Iterable[ContactResult], written_by: WrittenBy) -> Written:
        """Write the results in one transaction."""
        try:
            with self._session() as session:
                return write_tables(session, self._table, batches(replay, results, written_by), replay.id)
        except ReplayError as error:
            raise ReplayError(f"{self.name} cannot be written: {error}") from None
        except ImportError as error:
            raise ReplayError(f"{self.name}: the driver of the database is not installed: {error}") from None
        except sa.exc.SQLAlchemyError as error:
            raise ReplayError(f"{self.name} cannot be written: {self._reason(error)}") from None


class FileTarget:
    """A file, and the file of contacts beside it.

    Args:
        location: of the file.
        storage: returns fsspec's file system, and the path in it.

    Raises:
        ReplayError: the ending of the file is no known format.
    """

    def __init__(self, location: str, storage: Callable[[], tuple[Any, str]]) -> None:
        self.name = hide_credentials(location)
        if not location.endswith(RESULT_FILES):
            raise ReplayError(
                f"{self.name}: the name of a file of results must end with one of {', '.join(RESULT_FILES)}"
            )
        self.places: Sequence[tuple[str, str | None]] = [(self.name, None), (contacts_path(self.name), None)]
        self._storage = storage

    def write(self, replay: Replay, results: Iterable[ContactResult], written_by: WrittenBy) -> Written:
        """Write the files, which appear when they are complete."""
        try:
            storage, path = self._storage()
            return write_files(storage, path, batches(replay, results, written_by))
        except FlowsError:
            raise
        except ImportError as error:
            raise ReplayError(f"{self.name}: this storage needs a package that is not installed: {error}") from None
        except Exception as error:  # each storage has its own errors
            reason = hide_credentials(str(getattr(error, "strerror", None) or error)) or type(error).__name__
            raise ReplayError(f"{self.name} cannot be written: {reason.splitlines()[0]}") from None


def table_at_url(url: str, table: str) -> TableTarget:
    """Return the table in the database of a SQLAlchemy URL.

    Raises:
        ReplayError: the URL is invalid.
    """
    try:
        address = database_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise ReplayError(
            "--to must be an SQLAlchemy URL: sqlite:///results.db, or postgresql://user@host/database"
        ) from None

    @contextmanager
    def session() -> Iterator[sa.Connection]:
        with sa.create_engine(address, poolclass=sa.NullPool).connect() as connection:
            yield connection

    return TableTarget(hide_password(address), table, session)


def file_at_url(location: str, known: Storage = lambda _: None) -> FileTarget:
    """Return the file at a path, or at a URL that fsspec supports.

    Args:
        location: the path, or the URL.
        known: returns the file system of a URL, and the path in it; ``None`` to let fsspec open the URL.

    Raises:
        ReplayError: the ending of the file is no known format.
    """

    def storage() -> tuple[Any, str]:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # it has no types

        found, path = (known(location) if "://" in location else None) or url_to_fs(location)
        return found, str(path)

    return FileTarget(location, storage)
