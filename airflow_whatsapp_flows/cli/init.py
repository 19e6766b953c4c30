"""``whatsapp-flows init``: a working folder to start with."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from airflow_whatsapp_flows.cli import REFUSED
from airflow_whatsapp_flows.cli.schema import SCHEMA_FILE, schema_bytes

_STARTING = Path(__file__).parents[1] / "starting"
_AS_TEXT = ".txt"  # Python files are stored as text: they are not modules of this package


def init(options: argparse.Namespace) -> int:
    """Create the folder; return 0, or 1 if a file already exists or cannot be written."""
    folder: Path = options.folder
    content = {folder / path: content for path, content in template_files()}
    taken = [path for path in content if os.path.lexists(path)]
    if taken:
        print(f"{folder}: nothing was written, because these files already exist:", file=sys.stderr)
        for path in taken:
            print(f"  {path}", file=sys.stderr)
        print("choose another folder, or move them", file=sys.stderr)
        return REFUSED
    for path, data in content.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(data)
        except OSError as error:
            print(f"{path}: cannot be written: {error.strerror}", file=sys.stderr)
            return REFUSED
        print(path)
    print(f"to continue, read {folder / 'README.md'}", file=sys.stderr)
    return 0


def template_files() -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the files of a working folder: relative path and content."""
    for file in sorted(path for path in _STARTING.rglob("*") if path.is_file()):
        inner = PurePosixPath(file.relative_to(_STARTING).as_posix())
        yield inner.with_name(inner.name.removesuffix(_AS_TEXT)), file.read_bytes()
    yield PurePosixPath("dags", SCHEMA_FILE), schema_bytes()
