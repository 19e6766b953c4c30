"""The ledger of one task of Airflow: two rows in the task's life, and what it asks before it writes them.

A replay writes through SQLAlchemy, many rows at a time. Setting up an engine for two rows costs more than sending the
request does: an SQLite ledger is read and written here through the driver itself.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from airflow_whatsapp_flows.errors import IntentConflictError, LedgerError, LedgerReplacedError
from airflow_whatsapp_flows.ledger import epochs
from airflow_whatsapp_flows.ledger.attempts import ADD_INTENTS, END_ATTEMPTS, intent_row, outcome_row
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.engine import ledger_path, open_file
from airflow_whatsapp_flows.ledger.epochs import AttemptSummary, KnownResponse
from airflow_whatsapp_flows.ledger.identifiers import ADD_IDENTIFIERS, identifier_rows
from airflow_whatsapp_flows.ledger.identity import FileIdentity, rescue_ledger
from airflow_whatsapp_flows.ledger.once import TaskClaims
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, Intent, Subject
from airflow_whatsapp_flows.ledger.schema import SCHEMA_VERSION, attempts, renames, versions
from airflow_whatsapp_flows.ledger.statements import Statement

_FILE = "sqlite:///"


class AttemptRow(NamedTuple):
    """One attempt as the ledger holds it; the names are those of the table."""

    step: str
    visit: int
    key: str
    number: int
    digest: str
    begun_at: float
    moment: float
    fate: str | None
    result: str | None
    replay_no: int | None
    round: int
    origin: str | None
    status_code: int | None = None
    step_id: str | None = None
    method: str = ""
    epoch: int = 1
    content: str | None = None

    def summary(self) -> AttemptSummary:
        """What it tells of contents."""
        return AttemptSummary(*(getattr(self, name) for name in AttemptSummary._fields))


# The same text is run by SQLite's driver and by PostgreSQL's; every name in it is our own.
_OF_SUBJECT = (
    f"SELECT {', '.join(AttemptRow._fields)} FROM {attempts.name} "  # noqa: S608
    "WHERE response_id = :response_id AND flow_id = :flow_id "
)
_READ = f"{_OF_SUBJECT} ORDER BY id"
_RENAMES = f"SELECT old, new FROM {renames.name} WHERE flow_id = :flow_id"  # noqa: S608


class Transaction:
    """Statements of one transaction.

    Args:
        execute: runs a statement with named parameters, and returns its rows.
        write: runs a statement for each of some rows.
        lock: holds the lock of a number until the end of the transaction.
    """

    def __init__(
        self,
        execute: Callable[[str, Mapping[str, Any]], list[Any]],
        write: Callable[[Statement, Sequence[tuple[Any, ...]]], None],
        lock: Callable[[int], None],
    ) -> None:
        self._execute = execute
        self._write = write
        self._claims = TaskClaims(execute, lock)

    def attempts(self, subject: Subject) -> list[AttemptRow]:
        """Every attempt made for a subject, on any road, in their order."""
        return [AttemptRow(*row) for row in self._execute(_READ, _subject(subject))]

    def known_contacts(self, subject: Subject) -> list[KnownResponse]:
        """The contacts of replays that hold a response."""
        return [epochs.parse_known_row(row) for row in self._execute(epochs.KNOWN_OF_SUBJECT, _subject(subject))]

    def other_content_sent(self, subject: Subject, epoch: int, content: str) -> KnownResponse | None:
        """Who has sent content of a response that is newer than this, or another of the same epoch."""
        rows = self._execute(epochs.SENT_SINCE, {**_subject(subject), "epoch": epoch, "content": content})
        return epochs.parse_sent_row(rows[0]) if rows else None

    def other_content_pending(self, subject: Subject, epoch: int, content: str) -> KnownResponse | None:
        """The contact that waits to be sent with content newer than this."""
        rows = self._execute(epochs.WAITING_SINCE, {**_subject(subject), "epoch": epoch, "content": content})
        return epochs.parse_known_row(rows[0]) if rows else None

    def attempts_of_visit(
        self, subject: Subject, steps: Sequence[str], visit: int, key: str = "", epoch: int = 1
    ) -> list[AttemptRow]:
        """Those that decide about one visit of an action: a loop reads no reply of all its visits at every one.

        Args:
            subject: whose they are.
            steps: everything that the action may be recorded under.
            visit: from 1.
            key: under which it would be sent now; attempts of other visits under it are among them.
            epoch: of the response's content.
        """
        names = {f"step_{number}": step for number, step in enumerate(steps)}
        these = ", ".join(f":{name}" for name in names)
        query = (
            f"{_OF_SUBJECT} AND epoch = :epoch AND (step IN ({these}) OR step_id IN ({these})) "
            "AND (visit = :visit OR key = :key) ORDER BY id"
        )
        which = {**_subject(subject), **names, "visit": visit, "key": key, "epoch": epoch}
        rows = self._execute(query, which)
        return [AttemptRow(*row) for row in rows]

    def renames(self, flow_id: str) -> dict[str, str | None]:
        """What steps of a flow were renamed to, as somebody has confirmed."""
        return {row[0]: row[1] for row in self._execute(_RENAMES, {"flow_id": flow_id})}

    def intend(self, intent: Intent) -> None:
        """Note that a request is about to be sent.

        Raises:
            OnceClaimedError: under ``only_once`` another response of the same person has claimed the step.
        """
        self._claims.claim(intent)
        self._write(ADD_INTENTS, [intent_row(intent)])
        self._write(ADD_IDENTIFIERS, identifier_rows(*intent.subject, intent.identifiers))

    def end(self, end: AttemptEnd) -> None:
        """Note what came of a request."""
        self._write(END_ATTEMPTS, [outcome_row(end)])
        self._claims.release(end)


def _subject(subject: Subject) -> dict[str, str]:
    return {"response_id": subject.response_id, "flow_id": subject.flow_id}


class TaskLedger(Protocol):
    """The ledger of one task."""

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction, committed at the end of the block.

        Raises:
            IntentConflictError: another worker has this very intent.
            LedgerError: the database cannot be written; nothing of the transaction is in it.
        """
        yield NotImplemented


class _FileLedger:
    """A ledger in an SQLite file, by the driver itself."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = FileIdentity(Path(path))
        self._identity.check_opening()
        connection = _connect(path)
        if connection is None:
            Ledger(f"{_FILE}{path}").close()  # makes the tables, upgrades them, or says what is wrong
            connection = _connect(path)
        if connection is None:
            raise LedgerError(f"the ledger {_FILE}{path} cannot be opened")
        self._connection = connection
        try:
            self._identity.learn(self._row)
        except BaseException:
            connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        connection = self._connection
        statements = _FileStatements(connection, lambda: self._identity.begin(self._row))
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._identity.check()
                yield Transaction(statements.execute, statements.write, lambda _: None)  # it is alone anyway
                connection.execute("COMMIT")
                if statements.commits:
                    self._identity.note_commit(statements.commits)
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except LedgerReplacedError as error:
            raise rescue_ledger(connection, Path(self._path), error) if error.can_be_copied else error from None
        except sqlite3.IntegrityError:
            raise _conflict() from None
        except sqlite3.Error as error:
            self._identity.check()  # what the database says of a file that is gone helps nobody
            raise LedgerError(f"the ledger {_FILE}{self._path} cannot be written: {error}") from error

    def _row(self, statement: str) -> Sequence[Any] | None:
        row: Sequence[Any] | None = self._connection.execute(statement).fetchone()
        return row

    def close(self) -> None:
        self._connection.close()
        self._identity.close()


class _FileStatements:
    """Statements of one transaction on a file: the first that writes counts the commit."""

    def __init__(self, connection: sqlite3.Connection, count_commit: Callable[[], int]) -> None:
        self.commits = 0
        self._connection = connection
        self._count_commit = count_commit

    def execute(self, sql: str, values: Mapping[str, Any]) -> list[Any]:
        if not sql.startswith("SELECT"):  # what only reads need not wait for the disk
            self._note_write()
        return self._connection.execute(sql, values).fetchall()

    def write(self, statement: Statement, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._note_write()
            self._connection.executemany(statement.for_each, rows)

    def _note_write(self) -> None:
        self.commits = self.commits or self._count_commit()


class _EngineLedger:
    """Any other ledger, by SQLAlchemy."""

    def __init__(self, url: str) -> None:
        self._ledger = Ledger(url)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        try:
            with self._ledger.write() as connection:

                def execute(sql: str, values: Mapping[str, Any]) -> list[Any]:
                    done = connection.execute(text(sql), values)
                    return list(done) if done.returns_rows else []

                def write(statement: Statement, rows: Sequence[tuple[Any, ...]]) -> None:
                    statement.run(connection, rows)

                yield Transaction(
                    execute, write, lambda number: self._ledger.dialect.lock_until_commit(connection, number)
                )
        except LedgerError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise _conflict() from None
            raise

    def close(self) -> None:
        self._ledger.close()


_open: dict[tuple[int, str], _FileLedger | _EngineLedger] = {}


def open_task_ledger(url: str) -> TaskLedger:
    """The ledger of a URL, for a task; opened once in each process, because a connection does not survive a fork.

    Raises:
        LedgerError: it cannot be opened.
    """
    place = (os.getpid(), url)
    if place not in _open:
        is_file = url.startswith(_FILE) and "?" not in url
        _open[place] = _FileLedger(str(ledger_path(url.removeprefix(_FILE)))) if is_file else _EngineLedger(url)
    return _open[place]


def _connect(path: str) -> sqlite3.Connection | None:
    """A connection to the file, if it holds the tables of this release."""
    connection = None
    try:
        connection = open_file(Path(path), "mode=rw")
        connection.isolation_level = None
        found = connection.execute(f"SELECT version FROM {versions.name}").fetchone()  # noqa: S608
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error:
        found = None
    if connection is not None and (found is None or found[0] != SCHEMA_VERSION):
        connection.close()
        return None
    return connection


def _conflict() -> IntentConflictError:
    return IntentConflictError("another worker is sending the same request")


@atexit.register
def _close_own() -> None:
    for (pid, _), ledger in _open.items():
        if pid == os.getpid():
            ledger.close()
