"""What can happen to the file of a ledger; each function takes the file and an older copy of it."""

from __future__ import annotations

import shutil
from pathlib import Path


def delete(file: Path, _: Path) -> None:
    file.unlink()


def replace_with_empty_file(file: Path, _: Path) -> None:
    file.unlink()
    file.touch()


def replace_with_copy(file: Path, copy: Path) -> None:
    moved = copy.with_name("moved.db")
    shutil.copy(copy, moved)
    moved.rename(file)


def overwrite_with_copy(file: Path, copy: Path) -> None:
    file.write_bytes(copy.read_bytes())


def truncate(file: Path, _: Path) -> None:
    file.write_bytes(b"")
