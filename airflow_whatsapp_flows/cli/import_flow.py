"""``whatsapp-flows import``: a flow file from the step records of a platform."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.reply.excerpt import escape_unprintable
from airflow_whatsapp_flows.flow.strict_json import NotStrictError, parse_strict_json
from airflow_whatsapp_flows.hilos import ImportedFlow, Note, read_step_records
from airflow_whatsapp_flows.hilos.notes import NoteKind
from airflow_whatsapp_flows.hilos.secrets import slug
from airflow_whatsapp_flows.quantities import plural

_STDIN = Path("-")
_KINDS: tuple[NoteKind, ...] = get_args(NoteKind)
_COUNTED = {
    "secret": ("secret left out", "secrets left out"),
    "fault": ("fault to fix", "faults to fix"),
    "dangling": ("exit with unknown target", "exits with unknown target"),
    "lost": ("setting dropped", "settings dropped"),
    "renamed": ("name changed", "names changed"),
    "inferred": ("guess", "guesses"),
}


def import_flow(options: argparse.Namespace) -> int:
    """Print or write the flow, and print the report; return 0, or 1 if the flow has faults.

    Raises:
        SourceError: the records cannot be read or contain no step, or the output file already exists.
    """
    if options.records is None:
        raise SourceError(
            "give the step records with --records FILE; reading them from the platform's API is not available yet"
        )
    output: Path | None = options.output
    if output is not None and output.exists() and not options.force:
        raise SourceError(f"{output} already exists; choose another file, or overwrite it with --force")
    records = _read(options.records)
    if isinstance(records, dict) and "flow_format" in records:
        raise SourceError(f"{options.records}: this is a flow file, not step records; see 'whatsapp-flows validate'")
    flow_id = options.id or _id_of(options.name, output, options.records)
    imported = read_step_records(records, flow_id=flow_id, name=options.name, syntax=options.platform)
    text = json.dumps(imported.flow, ensure_ascii=False, indent=2) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        _write(output, text, options.force)
    for line in report_lines(imported):
        print(line, file=sys.stderr)
    return 0 if imported.loads else 1


def report_lines(imported: ImportedFlow) -> Iterator[str]:
    """Format the report: a summary, then the notes by step, most serious first."""
    steps = imported.flow["steps"]
    count = len(steps) if isinstance(steps, list) else 0
    kinds = Counter(note.kind for note in imported.report)
    counted = [f"{kinds[kind]} {_COUNTED[kind][kinds[kind] != 1]}" for kind in _KINDS if kinds[kind]]
    yield f"{imported.flow['id']}: {plural(count, 'step')}; {', '.join(counted) or 'nothing to report'}"
    by_step: dict[str | None, list[Note]] = {None: []}
    for note in imported.report:
        by_step.setdefault(note.step, []).append(note)
    for step, notes in by_step.items():
        if notes:
            yield f"  {escape_unprintable(step) if step is not None else '(the flow)'}"
        for note in sorted(notes, key=lambda one: _KINDS.index(one.kind)):
            yield escape_unprintable(f"    {note.kind}: {note.field}: {note.message}")


def _read(path: Path) -> object:
    try:
        content = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not UTF-8; save the records as UTF-8") from None
    try:
        return parse_strict_json(text)
    except NotStrictError as error:
        raise SourceError(f"{path}: {error}") from None
    except RecursionError:
        raise SourceError(f"{path}: nested too deeply") from None
    except json.JSONDecodeError as error:
        lines = _json_lines(text)
        if lines is None:
            raise SourceError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
        return lines
    except ValueError:
        raise SourceError(f"{path}: a number has too many digits") from None


def _json_lines(text: str) -> list[object] | None:
    """Parse JSON Lines; ``None`` if the text is something else."""
    try:
        values = [parse_strict_json(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return None
    return values or None


def _id_of(name: str | None, output: Path | None, records: Path) -> str:
    found = (output.stem if output is not None else "") or slug(name or "")
    if not found and records != _STDIN:
        found = slug(records.stem)
    if not found:
        raise SourceError("set the id of the flow with --id; it is also the name of its file")
    return found


def _write(path: Path, text: str, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SourceError(f"{path} already exists; choose another file, or overwrite it with --force") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {error.strerror}") from None
