"""What is stored of an SQLite ledger outside its file, to recognize an older copy of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from airflow_whatsapp_flows.ledger.locks import locks_folder


@dataclass(frozen=True, slots=True)
class Mark:
    """The state of a ledger file, stored outside it.

    Attributes:
        ledger_id: id of the ledger.
        commits: number of its commits.
        stored: number of commits in the file itself, not only in its log.
        is_overwritten: whether the file was overwritten while in use, and may be damaged.
    """

    ledger_id: str
    commits: int
    stored: int
    is_overwritten: bool = False

    def text(self) -> bytes:
        """The content of the mark's file; its length is fixed, so that one write replaces it."""
        state = "overwritten" if self.is_overwritten else "usable     "
        return f"{self.ledger_id:32} {self.commits:020d} {self.stored:020d} {state}\n".encode()


def mark_path(file: Path) -> Path:
    """Return the path of a ledger's mark."""
    return locks_folder(file) / "last-commit"


def read_mark(file: Path) -> Mark | None:
    """Read the mark of a ledger; ``None`` if there is none, or a power loss interrupted its writing."""
    try:
        ledger_id, commits, stored, state = mark_path(file).read_text(encoding="ascii").split()
        return Mark(ledger_id, int(commits), int(stored), state == "overwritten")
    except (OSError, ValueError):
        return None


def write_mark(file: Path, mark: Mark) -> None:
    """Write the mark of a ledger. It is not synced: after a power loss it may be older than the ledger, never newer."""
    with suppress(OSError):
        mark_path(file).parent.mkdir(exist_ok=True)
        mark_path(file).write_bytes(mark.text())


def advance_mark(file: Path, mark: Mark) -> None:
    """Write a mark, unless another process of the same ledger has committed more: then its numbers stay."""
    found = read_mark(file)
    if found is not None and found.ledger_id == mark.ledger_id:
        mark = replace(mark, commits=max(mark.commits, found.commits), stored=max(mark.stored, found.stored))
    write_mark(file, mark)
