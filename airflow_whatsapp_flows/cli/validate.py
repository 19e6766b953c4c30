"""``whatsapp-flows validate``: every fault of flow files."""

from __future__ import annotations

import argparse
import json
import sys

from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow_files import load_flow_file


def validate(options: argparse.Namespace) -> int:
    """Check the files; returns 0 when none has a fault, else 1."""
    found: list[tuple[str, Fault]] = []
    for path in options.files:
        try:
            load_flow_file(path)
        except FlowFileError as error:
            found.extend((error.source, fault) for fault in error.faults)
    if options.format == "json":
        print(json.dumps([_as_json(source, fault) for source, fault in found], ensure_ascii=False, indent=2))
    elif options.format == "github":
        for source, fault in found:
            print(_as_annotation(source, fault))
    else:
        for source, fault in found:
            print(f"{source}:{fault.where()}: {fault.message}")
        _print_summary(len(options.files), found)
    return 1 if found else 0


def _print_summary(files: int, found: list[tuple[str, Fault]]) -> None:
    checked = f"{files} file{'s' if files != 1 else ''}"
    faults = f"{len(found)} fault{'s' if len(found) != 1 else ''}" if found else "no faults"
    print(f"{checked}: {faults}", file=sys.stderr)


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
