"""``whatsapp-flows test``: runs the tests in flow files, without a network."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_whatsapp_flows.cli import REFUSED, UNFINISHED
from airflow_whatsapp_flows.cli.tables import plain
from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.concealing import mask_secrets
from airflow_whatsapp_flows.flow.inspect.testing import FlowTestRun, UntakenExit, run_flow_test, untaken_exits
from airflow_whatsapp_flows.flow.reply.excerpt import escape_unprintable
from airflow_whatsapp_flows.flow_files import find_flow_files, load_flow_file
from airflow_whatsapp_flows.quantities import plural


@dataclass(frozen=True)
class _FileResult:
    """The results of one flow file.

    Attributes:
        file: its path.
        flow: its id.
        runs: results of the selected tests, in order.
        untaken: exits that no test takes; ``None`` if not all tests were run.
        defined: number of tests in the file.
    """

    file: Path
    flow: str
    runs: list[FlowTestRun]
    untaken: list[UntakenExit] | None
    defined: int


def test(options: argparse.Namespace) -> int:
    """Run the tests; return 0 if all passed, 3 if some failed, 1 if a file was refused."""
    tested: list[_FileResult] = []
    refused: list[FlowFileError] = []
    for path in options.files:
        for item in _run_all(path, options.name):
            if isinstance(item, FlowFileError):
                refused.append(item)
                for fault in item.faults:
                    print(escape_unprintable(f"{item.source}:{fault.where()}: {fault.message}"), file=sys.stderr)
                continue
            tested.append(item)
            if options.format == "text":
                for line in _lines(item):
                    print(line)
    runs = [run for item in tested for run in item.runs]
    failed = sum(not run.passed for run in runs)
    if options.format == "json":
        print(json.dumps(_as_json(tested, refused), ensure_ascii=False, indent=2))
    print(_summary(tested, len(runs), failed, len(refused)), file=sys.stderr)
    if options.name is not None and not runs and any(item.defined for item in tested):
        print(f"no test name contains {options.name!r}", file=sys.stderr)
        return REFUSED
    if refused:
        return REFUSED
    return UNFINISHED if failed else 0


def _run_all(path: Path, name: str | None) -> Iterator[_FileResult | FlowFileError]:
    found = list(find_flow_files(path)) if os.path.isdir(path) else [path]
    if not found:
        yield FlowFileError(str(path), [Fault("there are no flow files (*.json) in this folder")])
    for file in found:
        try:
            flow = load_flow_file(file)
        except FlowFileError as error:
            yield error
            continue
        chosen = [one for one in flow.tests if name is None or name.casefold() in one.name.casefold()]
        runs = [run_flow_test(flow, one) for one in chosen]
        untaken = untaken_exits(flow, runs) if runs and len(runs) == len(flow.tests) else None
        yield _FileResult(file, flow.id, runs, untaken, len(flow.tests))


def _lines(item: _FileResult) -> Iterable[str]:
    if not item.defined:
        yield f'{item.file}: no tests; add them in its key "tests"'
        return
    if not item.runs:
        return
    passed = sum(run.passed for run in item.runs)
    yield f"{item.file}: {passed} of {len(item.runs)} passed"
    for run in item.runs:
        yield f"  {'ok  ' if run.passed else 'FAIL'}  {plain(run.name)}"
        if not run.passed:
            for mismatch in run.mismatches:
                yield f"        {plain(mismatch.where)}: {plain(mismatch.message)}"
            yield f"        actual path: {plain(' → '.join(run.walk.path) or '(no step)')}"
        for index in run.unused:
            yield f"        replies[{index}] was not used"
    if item.untaken:
        yield f"  exits never taken: {', '.join(plain(_exit(way)) for way in item.untaken)}"


def _exit(way: UntakenExit) -> str:
    return f"{way.step} ({'never reached' if way.exit is None else way.exit})"


def _summary(tested: list[_FileResult], runs: int, failed: int, refused: int) -> str:
    counts = [f"{plural(runs, 'test')}: {runs - failed} passed"]
    if failed:
        counts.append(f"{failed} failed")
    without = sum(not item.defined for item in tested)
    if without:
        counts.append(f"{plural(without, 'flow')} without tests")
    if refused:
        counts.append(f"{plural(refused, 'file')} refused")
    return ", ".join(counts)


def _as_json(tested: list[_FileResult], refused: list[FlowFileError]) -> dict[str, object]:
    return {
        "flows": [
            {
                "file": str(item.file),
                "id": item.flow,
                "tests": [_run_as_json(run) for run in item.runs],
                "exits_never_taken": None
                if item.untaken is None
                else [{"step": way.step, "exit": way.exit} for way in item.untaken],
            }
            for item in tested
        ],
        "refused": [
            {"file": error.source, "faults": [f"{fault.where()}: {fault.message}" for fault in error.faults]}
            for error in refused
        ],
    }


def _run_as_json(run: FlowTestRun) -> dict[str, object]:
    return {
        "name": run.name,
        "passed": run.passed,
        "mismatches": [
            {"where": one.where, "message": one.message, "expected": one.expected, "got": one.got}
            for one in run.mismatches
        ],
        "path": run.walk.path,
        "state": run.walk.state.value if run.walk.state else None,
        "reason": run.walk.reason,
        "requests": [
            {"step": effect.step.name, "method": effect.request.method, "url": mask_secrets(effect.request.url)}
            for effect in run.requests
        ],
        "unused_replies": list(run.unused),
    }
