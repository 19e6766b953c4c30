"""The ledger of an Airflow task, which writes two rows and runs a few queries.

A replay writes many rows at a time through SQLAlchemy. For two rows, setting up an engine costs more than sending the
request, so an SQLite ledger is accessed here directly through the driver.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Select, text
from sqlalchemy.exc import IntegrityError

from airflow_whatsapp_flows.errors import IntentConflictError, LedgerError, LedgerReplacedError
from airflow_whatsapp_flows.flow.identity import Identity
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.flow.walk.unchanged import SentWalk
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
from airflow_whatsapp_flows.ledger.sent_walks import find_sent_walks
from airflow_whatsapp_flows.ledger.statements import Statement

_FILE = "sqlite:///"


class AttemptRow(NamedTuple):
    """One attempt as stored in the ledger; fields are named as the columns."""

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
        """Return the fields that decide about content."""
        return AttemptSummary(*(getattr(self, name) for name in AttemptSummary._fields))


# SQLite's and PostgreSQL's drivers run the same text; it contains only our own names.
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
        write: runs a statement for each row.
        lock: holds a numbered lock until the transaction ends.
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
        """Return every attempt for a subject in order, from replays and DAG runs."""
        return [AttemptRow(*row) for row in self._execute(_READ, _subject(subject))]

    def known_contacts(self, subject: Subject) -> list[KnownResponse]:
        """Return the contacts with a response in all replays."""
        return [epochs.parse_known_row(row) for row in self._execute(epochs.KNOWN_OF_SUBJECT, _subject(subject))]

    def other_content_sent(self, subject: Subject, epoch: int, content: str) -> KnownResponse | None:
        """Find who has sent newer content of a response, or different content of the same epoch."""
        rows = self._execute(epochs.SENT_SINCE, {**_subject(subject), "epoch": epoch, "content": content})
        return epochs.parse_sent_row(rows[0]) if rows else None

    def other_content_pending(self, subject: Subject, epoch: int, content: str) -> KnownResponse | None:
        """Find a pending contact with newer content."""
        rows = self._execute(epochs.WAITING_SINCE, {**_subject(subject), "epoch": epoch, "content": content})
        return epochs.parse_known_row(rows[0]) if rows else None

    def attempts_of_visit(
        self, subject: Subject, steps: Sequence[str], visit: int, key: str = "", epoch: int = 1
    ) -> list[AttemptRow]:
        """Return only the attempts that decide about one visit of an action: a loop may have many visits.

        Args:
            subject: what the action belongs to.
            steps: every identity under which the action may be recorded.
            visit: from 1.
            key: key for sending it now; attempts of other visits under this key are included.
            epoch: epoch of the response's content.
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

    def sent_walk(self, subject: Subject, identity: Identity, steps: StepIdentities) -> SentWalk | None:
        """Return what was last sent for a response or its person, if it can be compared; see ``sent_walks``."""

        def execute(query: Select[Any]) -> list[Any]:
            compiled = query.compile(compile_kwargs={"render_postcompile": True})
            return self._execute(str(compiled), compiled.params)

        people = [(subject.response_id, identity)]
        return find_sent_walks(execute, subject.flow_id, people, steps).get(subject.response_id)

    def renames(self, flow_id: str) -> dict[str, str | None]:
        """Return the confirmed renames of a flow's steps."""
        return {row[0]: row[1] for row in self._execute(_RENAMES, {"flow_id": flow_id})}

    def intend(self, intent: Intent) -> None:
        """Record that a request is about to be sent.

        Raises:
            OnceClaimedError: under ``only_once`` another response of the same person has claimed the step.
        """
        self._claims.claim(intent)
        self._write(ADD_INTENTS, [intent_row(intent)])
        self._write(ADD_IDENTIFIERS, identifier_rows(*intent.subject, intent.identifiers))

    def end(self, end: AttemptEnd) -> None:
        """Record the outcome of a request."""
        self._write(END_ATTEMPTS, [outcome_row(end)])
        self._claims.release(end)


def _subject(subject: Subject) -> dict[str, str]:
    return {"response_id": subject.response_id, "flow_id": subject.flow_id}


class TaskLedger(Protocol):
    """The ledger of one task."""

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Run the block in a transaction, committed at its end.

        Raises:
            IntentConflictError: another worker has recorded the same intent.
            LedgerError: the database cannot be written; the transaction is rolled back.
        """
        yield NotImplemented


class _FileLedger:
    """A ledger in an SQLite file, accessed directly through the driver."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = FileIdentity(Path(path))
        self._identity.check_opening()
        connection = _connect(path)
        if connection is None:
            Ledger(f"{_FILE}{path}").close()  # creates the tables, upgrades them, or reports what is wrong
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
                yield Transaction(statements.execute, statements.write, lambda _: None)  # one writer at a time
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
            self._identity.check()  # the database's own error about a deleted file is misleading
            raise LedgerError(f"the ledger {_FILE}{self._path} cannot be written: {error}") from error

    def _row(self, statement: str) -> Sequence[Any] | None:
        row: Sequence[Any] | None = self._connection.execute(statement).fetchone()
        return row

    def close(self) -> None:
        self._connection.close()
        self._identity.close()


class _FileStatements:
    """Statements of one transaction on a file; the first write increments the number of commits."""

    def __init__(self, connection: sqlite3.Connection, count_commit: Callable[[], int]) -> None:
        self.commits = 0
        self._connection = connection
        self._count_commit = count_commit

    def execute(self, sql: str, values: Mapping[str, Any]) -> list[Any]:
        if not sql.startswith("SELECT"):  # a read-only transaction need not wait for the disk
            self._note_write()
        return self._connection.execute(sql, values).fetchall()

    def write(self, statement: Statement, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._note_write()
            self._connection.executemany(statement.for_each, rows)

    def _note_write(self) -> None:
        self.commits = self.commits or self._count_commit()


class _EngineLedger:
    """Any other ledger, accessed through SQLAlchemy."""

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
    """Open the ledger of a URL for a task, once in each process, because a connection does not survive a fork.

    Raises:
        LedgerError: it cannot be opened.
    """
    place = (os.getpid(), url)
    if place not in _open:
        is_file = url.startswith(_FILE) and "?" not in url
        _open[place] = _FileLedger(str(ledger_path(url.removeprefix(_FILE)))) if is_file else _EngineLedger(url)
    return _open[place]


def _connect(path: str) -> sqlite3.Connection | None:
    """Connect to the file, if it has the tables of this release."""
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
