"""``whatsapp-flows diff``: the differences in meaning between two flows."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from airflow_whatsapp_flows.cli import refuse
from airflow_whatsapp_flows.cli.tables import plain
from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.inspect.diff import ABSENT, Change, differences
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.quantities import plural

SAME = 0
DIFFERENT = 3
"""Not 1 as in ``diff``, because all commands here return 1 for a flow with faults."""

_WIDTH = 100


def diff(options: argparse.Namespace) -> int:
    """Print the differences; return 0 if there are none, otherwise 3."""
    flows = []
    faults: list[FlowFileError] = []
    for path in (options.old, options.new):
        try:
            flows.append(load_flow_file(path))
        except FlowFileError as error:
            faults.append(error)
    if faults:
        return refuse(*faults)
    changes = differences(*flows)
    if options.format == "json":
        print(json.dumps([_as_json(change) for change in changes], ensure_ascii=False, indent=2))
    else:
        for change in changes:
            print(_line(change))
        count = len(changes)
        print(plural(count, "difference") if count else "no differences", file=sys.stderr)
    return DIFFERENT if changes else SAME


def _as_json(change: Change) -> dict[str, Any]:
    value: dict[str, Any] = {
        "what": change.what,
        "part": change.part,
        "step": change.step,
        "path": change.path,
        "hidden": change.hidden,
    }
    for key, side in (("old", change.old), ("new", change.new)):
        if side is not ABSENT:
            value[key] = side
    return value


def _line(change: Change) -> str:
    if change.part == "step":
        what = f"renamed from {change.old}" if change.what == "renamed" else f"{change.what} ({_type_of(change)})"
        return plain(f"{change.step}: {what}")
    where = [change.step or "flow", change.path] if change.part != "start" else [change.path]
    return plain(f"{': '.join(where)}: {_pair(change)}")


def _type_of(change: Change) -> str:
    return str(change.old if change.what == "removed" else change.new)


def _pair(change: Change) -> str:
    sides = []
    for side in (change.old, change.new):
        if side is ABSENT or (side is None and change.part == "exit"):
            sides.append("(none)")
        elif isinstance(side, str) and change.part in ("exit", "start", "type"):
            sides.append(side)
        else:
            sides.append(json.dumps(side, ensure_ascii=False))
    old, new = _shorten(*sides)
    return f"{old} → {new}{' (a secret changed)' if change.hidden and old == new else ''}"


def _shorten(old: str, new: str) -> tuple[str, str]:
    """Shorten two long texts to start just before the first difference."""
    if max(len(old), len(new)) <= _WIDTH:
        return old, new
    first = next(
        (number for number, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    begin = max(0, first - _WIDTH // 3)
    return _part(old, begin), _part(new, begin)


def _part(text: str, begin: int) -> str:
    cut = text[begin : begin + _WIDTH]
    return f"{'…' if begin else ''}{cut}{'…' if begin + _WIDTH < len(text) else ''}"
