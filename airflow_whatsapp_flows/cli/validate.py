"""``whatsapp-flows validate``: reports every fault in flow files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.json_source import MAX_BYTES, JsonSource
from airflow_whatsapp_flows.flow.loading.excerpts import excerpt
from airflow_whatsapp_flows.flow.loading.load import check_replay_dag, read_flow
from airflow_whatsapp_flows.flow.reply.excerpt import escape_unprintable
from airflow_whatsapp_flows.flow_files import check_flow_file, check_folder, decode_flow_text, read_flow_text
from airflow_whatsapp_flows.quantities import plural

_STDIN = "<stdin>"


def validate(options: argparse.Namespace) -> int:
    """Check files, folders and, for ``-``, standard input; return 0 if there are no faults, otherwise 1."""
    texts: dict[str, str] = {}
    checked = [one for path in options.files for one in _check(path, texts)]
    found = [(source, fault) for source, faults in checked for fault in faults]
    if options.format == "json":
        print(json.dumps([_as_json(source, fault) for source, fault in found], ensure_ascii=False, indent=2))
    elif options.format == "github":
        for source, fault in found:
            print(_as_annotation(source, fault))
    else:
        for source, fault in found:
            print(escape_unprintable(f"{source}:{fault.where()}: {fault.message}"))
            if shown := excerpt(_text(source, texts), fault):
                print(shown)
        _print_summary(len(checked), len(found))
    return 1 if found else 0


def _check(path: Path, texts: dict[str, str]) -> Iterator[tuple[str, Sequence[Fault]]]:
    """Yield the names of files and their faults."""
    try:
        if str(path) == "-":
            texts[_STDIN] = decode_flow_text(sys.stdin.buffer.read(MAX_BYTES + 1), _STDIN)
            source = JsonSource(texts[_STDIN])
            flow, faults = read_flow(source)
            yield _STDIN, faults if flow is None or faults else check_replay_dag(flow, source)
        elif _is_folder(path):
            yield from ((str(file), faults) for file, faults in check_folder(path))
        else:
            yield str(path), check_flow_file(path)
    except FlowFileError as error:
        yield error.source, error.faults


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # reading it reports what is wrong with the path
        return False


def _text(source: str, texts: dict[str, str]) -> str:
    """Return the text of a file, read again to show its faults."""
    if source not in texts:
        try:
            texts[source] = read_flow_text(Path(source))
        except FlowFileError:
            texts[source] = ""
    return texts[source]


def _print_summary(files: int, faults: int) -> None:
    print(f"{plural(files, 'file')}: {plural(faults, 'fault') if faults else 'no faults'}", file=sys.stderr)


def _as_json(source: str, fault: Fault) -> dict[str, object]:
    return {
        "file": source,
        "line": fault.line,
        "column": fault.column,
        "path": list(fault.path),
        "step": fault.step,
        "message": fault.message,
    }


def _as_annotation(source: str, fault: Fault) -> str:
    # Workflow commands of GitHub Actions escape these three in messages, and ':' and ',' in properties.
    message = fault.message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    file = source.replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::error file={file},line={fault.line or 1},col={fault.column or 1}::{message}"
