"""``whatsapp-flows run``: walks one contact through a flow, step by step."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import sys

from airflow_whatsapp_flows.cli import INTERRUPTED, UNFINISHED
from airflow_whatsapp_flows.cli.responses import read_response_file
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.reply.excerpt import reply_excerpt
from airflow_whatsapp_flows.flow.reply.marks import without_marks
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait
from airflow_whatsapp_flows.flow.walk.walk import State, Visit, Walk, drive, walk
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.sender import RequestSender, sender_from_environment


def run(options: argparse.Namespace) -> int:
    """Walk the contact; return 0 if completed, 130 if interrupted, otherwise 3."""
    flow = load_flow_file(options.file)
    response = read_response_file(options.response)
    request_sender = sender_from_environment()
    _find_connections(flow, request_sender)
    record = Walk(Variables())
    shown = _ProgressPrinter(record, quiet=options.format == "json")
    under_way: Effect | None = None

    def do(effect: Effect) -> EffectResult:
        nonlocal under_way
        shown.catch_up()
        shown.begin(effect)
        under_way = effect
        done = request_sender.do(effect)
        under_way = None
        return done

    interrupted = False
    try:
        drive(walk(flow, response, now=dt.datetime.now(dt.timezone.utc), record=record), do)
    except KeyboardInterrupt:
        interrupted = True
        print(_interruption(under_way), file=sys.stderr)
    shown.catch_up()
    if options.format == "json":
        shown.say(json.dumps(as_json(record), ensure_ascii=False, indent=2))
    elif not interrupted:
        shown.say(_end(record))
    if interrupted:
        return INTERRUPTED
    return 0 if record.state is State.COMPLETED else UNFINISHED


def _find_connections(flow: Flow, request_sender: RequestSender) -> None:
    # A missing connection found midway would leave the contact partly processed.
    for conn_id in flow.connections:
        request_sender.find_connection(conn_id)


def _interruption(under_way: Effect | None) -> str:
    if not isinstance(under_way, SendAction):
        return "interrupted; no request was in progress"
    return f"interrupted; the request of {under_way.step.name!r} may have been sent"


class _ProgressPrinter:
    """Prints visits as they happen. If the reader is gone, the walk still continues to its end."""

    def __init__(self, record: Walk, *, quiet: bool) -> None:
        self._record = record
        self._printed = 0
        self._quiet = quiet
        self._readable = True

    def say(self, text: str) -> None:
        """Print a line, if possible."""
        try:
            if self._readable:
                print(text, flush=True)
        except OSError as error:
            self._readable = False
            with contextlib.suppress(OSError):
                print(f"the output cannot be written ({error.strerror}); the walk continues", file=sys.stderr)

    def begin(self, effect: Effect) -> None:
        if self._quiet or not sys.stdout.isatty():
            return
        self.say(f"  … {effect.step.name}: {self._record.hidden.conceal(_describe_effect(effect))}")

    def catch_up(self) -> None:
        for visit in self._record.visits[self._printed :]:
            self._printed += 1
            if not self._quiet:
                self.say(_visit(visit))


def _describe_effect(effect: Effect) -> str:
    if isinstance(effect, FetchFile):
        return f"fetching {effect.source.where}"
    if isinstance(effect, Wait):
        if not effect.waited_in_replay:
            return "skipped"
        return f"waiting until {effect.ends(dt.datetime.now(dt.timezone.utc)):%Y-%m-%d %H:%M:%S} UTC"
    return _request(effect.request)


def _request(request: HttpRequest) -> str:
    return f"{request.method} {request.url.partition('?')[0]}"


def _visit(visit: Visit) -> str:
    target = f" → {visit.target}" if visit.target else " → (end)"
    lines = [f"{visit.step}: {visit.exit or 'ends here'}{target if visit.exit else ''}"]
    if visit.reason:
        lines.append(f"    reason: {visit.reason}")
    if visit.text:
        lines.append(f"    says: {visit.text}")
    if visit.details:
        lines.append(f"    notes: {json.dumps(visit.details, ensure_ascii=False, default=str)}")
    if visit.result is not None:
        lines.append(f"    {without_marks(_result(visit.result))}")
        reply = reply_excerpt(visit.result)
        if reply is not None:
            lines.append(f"    reply: {reply}")
    return "\n".join(lines)


def _result(result: ActionResult) -> str:
    status = f"{result.status_code} {result.reason}".strip() if result.status_code else "no reply"
    line = f"{result.method} {result.url}: {status}, {result.elapsed_ms} ms, {result.attempts} attempt(s)"
    if result.outcome is Outcome.ERROR and result.error is not None:
        line += f"\n    error {result.error.kind.value}: {result.error.message} (sent: {result.error.sent.value})"
    return line


def _end(record: Walk) -> str:
    state = record.state.value if record.state else "unfinished"
    handled = f", {record.handled_errors} error(s) handled" if record.handled_errors else ""
    reason = f": {record.reason}" if record.reason else ""
    return f"{state}{handled}{reason}"


def as_json(record: Walk) -> dict[str, object]:
    """Convert a walk to JSON: ``state``, ``reason``, ``path``, ``handled_errors``, ``unanswered``, ``visits``."""
    return {
        **record.outcome(),
        "path": record.path,
        "visits": [
            {
                "step": visit.step,
                "visit": visit.number,
                "exit": visit.exit,
                "reason": visit.reason,
                "next": visit.target,
                "text": visit.text,
                "details": visit.details,
                "result": visit.result.as_value() if visit.result else None,
            }
            for visit in record.visits
        ],
    }
