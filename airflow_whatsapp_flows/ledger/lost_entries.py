"""Requests that a process committed and the ledger has lost: kept for a while, saved beside the ledger if needed.

Each line of the file is one row of the attempts table. ``whatsapp-flows ledger accept --lost FILE`` adds them to the
restored copy, so that they are not sent again.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from airflow_whatsapp_flows.ledger.identity import read_stored_commits
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, Entry, Intent

_MOST = 50_000
_MOST_CHARACTERS = 50_000_000


class RecentEntries:
    """The latest requests that one process has committed.

    Args:
        keeps: whether to keep entries; otherwise they are only counted.
    """

    def __init__(self, *, keeps: bool) -> None:
        self.requests = 0
        self.first_at: float | None = None
        self.first_commits: int | None = None
        self._keeps = keeps
        self._entries: deque[tuple[int, Intent | AttemptEnd]] = deque()
        self._characters = 0
        self._dropped = 0

    def add(self, commits: int, entries: Iterable[Entry]) -> None:
        """Add committed entries.

        Args:
            commits: number of the commit.
            entries: entries of the commit.
        """
        if self.first_commits is None:
            self.first_commits = commits
        for entry in entries:
            if isinstance(entry, Intent):
                self.requests += 1
                self.first_at = entry.begun_at if self.first_at is None else self.first_at
            elif not isinstance(entry, AttemptEnd):
                continue
            if self._keeps:
                self._entries.append((commits, entry))
                self._characters += _characters_of(entry)
        while len(self._entries) > _MOST or self._characters > _MOST_CHARACTERS:
            self._dropped, oldest = self._entries.popleft()
            self._characters -= _characters_of(oldest)

    def save_lost(self, file: Path) -> str:
        """Save what a file has lost beside it, and return a text that says so.

        Args:
            file: the ledger, overwritten by an older copy or something else.
        """
        own = read_stored_commits(file)
        has = own[1] if own else 0
        written = self._write(file, has)
        if written is None:
            return "all of them are in the file"
        path, number = written
        earlier = "" if self._is_complete_since(has) else ". That file has no record of earlier runs"
        return (
            f"{number:,} of them are in {path}: `whatsapp-flows ledger accept --ledger sqlite:///{file} --lost {path}` "
            f"adds them to the restored file{earlier}"
        )

    def _is_complete_since(self, commits: int) -> bool:
        """Whether the entries include everything committed to the ledger after a commit.

        Commits of other processes are not known here; each saves its own file.
        """
        return self._dropped <= commits and self.first_commits is not None and self.first_commits <= commits + 1

    def _write(self, file: Path, commits: int) -> tuple[Path, int] | None:
        """Write the requests committed after a commit; return the file and their number.

        Args:
            file: the ledger.
            commits: number of the last commit that the ledger still has.
        """
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for number, entry in self._entries:
            if number <= commits:
                continue
            intent = entry if isinstance(entry, Intent) else entry.intent
            row = rows.setdefault((*intent.subject, *intent[1:5]), _row(intent))
            if isinstance(entry, AttemptEnd):
                row.update(fate=entry.fate.value, **dict(zip(_END, entry[2:], strict=True)))
        if not rows:
            return None
        path = file.with_name(f"{file.name}-lost-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.{os.getpid()}.jsonl")
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values())
            lines.flush()
            os.fsync(lines.fileno())
        return path, len(rows)


def _characters_of(entry: Intent | AttemptEnd) -> int:
    return len(entry.result or "") if isinstance(entry, AttemptEnd) else 0


_END: Sequence[str] = AttemptEnd._fields[2:]


def _row(intent: Intent) -> dict[str, Any]:
    return {**intent.subject._asdict(), **dict(zip(Intent._fields[1:], intent[1:], strict=True))}
