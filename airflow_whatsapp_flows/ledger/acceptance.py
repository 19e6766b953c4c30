"""Accepting a ledger file that is not the expected one: an older copy, another ledger, or none.

Only a person can confirm this: requests missing from the file may be sent again.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger.attempts import insert_attempt
from airflow_whatsapp_flows.ledger.engine import open_file
from airflow_whatsapp_flows.ledger.identity import read_stored_commits
from airflow_whatsapp_flows.ledger.marks import Mark, mark_path, read_mark, write_mark
from airflow_whatsapp_flows.ledger.schema import chunks, counts, identifiers, once, versions


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """The ledger file that was accepted.

    Attributes:
        commits: number of commits in the file; 0 if there is no file.
        expected: number of commits made to the ledger before.
        added: number of lost requests that were added.
    """

    commits: int
    expected: int
    added: int


def accept(file: Path, lost: Path | None = None) -> AcceptResult:
    """Accept a ledger's file in its current state, and add the requests that it had lost.

    Args:
        file: the ledger's file; if it does not exist, the next command creates an empty one.
        lost: file of lost requests that a run has saved.

    Raises:
        LedgerError: the file is damaged or has another version, or the lost requests cannot be read.
    """
    mark = read_mark(file)
    if not (file.exists() and file.stat().st_size):
        if lost is not None:
            raise LedgerError(
                f"the ledger sqlite:///{file} is missing: restore a copy of it first, then add {lost} to it"
            )
        mark_path(file).unlink(missing_ok=True)
        return AcceptResult(0, mark.commits if mark else 0, 0)
    try:
        with closing(open_file(file, "mode=rw")) as connection:
            connection.isolation_level = None
            [state] = connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise LedgerError(f"the ledger sqlite:///{file} is damaged ({state}): restore a copy of it")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            added = _add_lost(connection, lost) if lost else 0
            ledger_id = uuid.uuid4().hex  # processes that still have the previous file open must stop
            commits = connection.execute(
                f"UPDATE {versions.name} SET ledger_id = ?, commits = commits + 1 RETURNING commits",  # noqa: S608
                (ledger_id,),
            ).fetchone()[0]
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger sqlite:///{file} cannot be written: {error}") from error
    own = read_stored_commits(file)
    write_mark(file, Mark(ledger_id, commits, own[1] if own else 0))
    return AcceptResult(commits, mark.commits if mark else commits, added)


def _add_lost(connection: sqlite3.Connection, lost: Path) -> int:
    added, of_replays = 0, set[int | None]()
    try:
        with lost.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                added += max(0, connection.execute(insert_attempt(row), {"fate": None, **row}).rowcount)
                _add_marks(connection, row)
                of_replays.add(row.get("replay_no"))
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise LedgerError(f"the lost requests in {lost} cannot be read: {error}") from error
    numbers = [(replay_no,) for replay_no in of_replays]
    for change in (f"UPDATE {chunks.name} SET requests = NULL", f"DELETE FROM {counts.name}"):  # noqa: S608
        connection.executemany(f"{change} WHERE replay_no = ?", numbers)
    return added


def _add_marks(connection: sqlite3.Connection, row: dict[str, Any]) -> None:
    """Add the identifiers of a lost request's contact, and its claims under ``only_once``."""
    of_response = (row["flow_id"], row["response_id"])
    known = [(value, kind, *of_response) for kind, value in row.get("identifiers") or ()]
    names = "value, kind, flow_id, response_id"
    connection.executemany(f"INSERT OR IGNORE INTO {identifiers.name} ({names}) VALUES (?, ?, ?, ?)", known)  # noqa: S608
    if row.get("fate") != Fate.NOT_SENT.value and row.get("once"):
        step_id, marks, *_ = row["once"]  # the fields of OnceClaim
        claimed = [(row["flow_id"], step_id, mark, row["response_id"]) for mark in marks]
        names = "flow_id, step_id, identifier, response_id"
        connection.executemany(f"INSERT OR IGNORE INTO {once.name} ({names}) VALUES (?, ?, ?, ?)", claimed)  # noqa: S608
