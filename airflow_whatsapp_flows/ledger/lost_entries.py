"""Requests that a process committed and the ledger has lost: kept for a while, saved beside the ledger if needed.

Each line of the file is one row of the attempts table. ``whatsapp-flows ledger accept --lost FILE`` adds them to the
restored copy, so that they are not sent again.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from operator import attrgetter
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from airflow_whatsapp_flows.ledger.attempts import ATTEMPT_OUTCOME, EntriesByType, key_of
from airflow_whatsapp_flows.ledger.identity import read_stored_commits
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, Intent

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
        self._commits: deque[tuple[int, list[Intent], list[AttemptEnd], int]] = deque()  # the last is their characters
        self._entries = 0
        self._characters = 0
        self._dropped = 0

    def add(self, commits: int, entries: EntriesByType) -> None:
        """Add committed entries.

        Args:
            commits: number of the commit.
            entries: entries of the commit.
        """
        if self.first_commits is None:
            self.first_commits = commits
        intents, ends = entries[Intent], entries[AttemptEnd]
        self.requests += len(intents)
        if intents and self.first_at is None:
            self.first_at = intents[0].begun_at
        if not (self._keeps and (intents or ends)):
            return
        characters = sum(map(len, filter(None, map(_result_of, ends))))
        self._commits.append((commits, intents, ends, characters))
        self._entries += len(intents) + len(ends)
        self._characters += characters
        while self._entries > _MOST or self._characters > _MOST_CHARACTERS:
            self._dropped, intents, ends, characters = self._commits.popleft()
            self._entries -= len(intents) + len(ends)
            self._characters -= characters

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
        for number, intents, ends, _ in self._commits:
            if number <= commits:
                continue
            for intent in intents:
                rows.setdefault(key_of(intent), _row(intent))
            for end in ends:
                row = rows.setdefault(key_of(end.intent), _row(end.intent))
                row.update({name: getattr(end, name) for name in ATTEMPT_OUTCOME}, fate=end.fate.value)
        if not rows:
            return None
        path = file.with_name(f"{file.name}-lost-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.{os.getpid()}.jsonl")
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values())
            lines.flush()
            os.fsync(lines.fileno())
        return path, len(rows)


_result_of = attrgetter("result")


def _row(intent: Intent) -> dict[str, Any]:
    row = asdict(intent)
    return {**row.pop("subject")._asdict(), **row}
