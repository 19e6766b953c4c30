"""Running a flow's own tests: requests are built as they always are, actions get canned replies, nothing is sent.

One reply is what a visit of an action comes to in the end: a reply of which the retry rule would say "again" is taken
as the last one. Waits are passed over, and every file that is to be fetched has the same few bytes.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

from msgspec import UNSET, structs

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.concealing import LiteralSecrets, mask_secrets
from airflow_whatsapp_flows.flow.format import ExpectedRequestFormat, FlowTestFormat, ReplyFormat
from airflow_whatsapp_flows.flow.inspect.compare import Hide, Mismatch, content_value, differences, mismatch
from airflow_whatsapp_flows.flow.loading.builder import FlowTexts
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.moments import parse_moment
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpResponse, Reply, Sent, TransportFailure
from airflow_whatsapp_flows.flow.storable import UnparsableContent
from airflow_whatsapp_flows.flow.template.references import MISSING
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.deliver import (
    Answer,
    Exchange,
    Intend,
    Prepare,
    Recall,
    Step,
    carry_out,
    deliver,
)
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait, Waited
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.walk import State, Walk, drive, walk

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone.utc)
"""The time of a test that does not set one: the same today and tomorrow."""
FILE = FileContent(b"the content of a file")
"""Content of every fetched file."""

# As the transport has it: what cannot have reached the server, and what has.
_SENT = {
    ErrorKind.CONNECT: Sent.NO,
    ErrorKind.TLS: Sent.NO,
    ErrorKind.POLICY: Sent.NO,
    ErrorKind.FILE: Sent.NO,
    ErrorKind.TOO_LARGE: Sent.YES,
}
_MADE_OF_REPLIES = {
    ErrorKind.STATUS: "set status_code instead",
    ErrorKind.UNPARSABLE: 'set an unreadable response instead, such as "response": "<html>" with the header '
    '"Content-Type": "application/json"',
    ErrorKind.SUCCESS_WHEN: "set a response for which success_when is false instead",
    ErrorKind.RESPONSE_CHECK: "a flow has no response_check; only the operator has one",
}


@dataclass(frozen=True, slots=True)
class FlowTestRun:
    """What came of one test.

    Attributes:
        name: of the test.
        walk: what became of the contact, as far as it got.
        requests: those that would have been sent, in order.
        mismatches: what is not as expected; the test has passed when there is nothing.
        unused: positions of the replies that nothing asked for.
    """

    name: str
    walk: Walk
    requests: tuple[SendAction, ...]
    mismatches: tuple[Mismatch, ...]
    unused: tuple[int, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything is as expected."""
        return not self.mismatches


@dataclass(frozen=True, slots=True)
class UntakenExit:
    """A way out of a step that no test takes.

    Attributes:
        step: its name.
        exit: label of the way; ``None`` when the step itself is never reached.
    """

    step: str
    exit: str | None


def run_flow_test(flow: Flow, test: FlowTestFormat) -> FlowTestRun:
    """Run one test of a flow.

    Args:
        flow: without faults.
        test: one of ``flow.tests``.
    """
    now = NOW if test.now is None else parse_moment(test.now, ZoneInfo(flow.timezone))
    record, server = Walk(Variables()), _Server(test.replies)
    try:
        record = drive(walk(flow, read_response(test.response), now=now, record=record), server.do)
    except ResponseError as error:
        record.state, record.reason = State.REJECTED, str(error)
    except _NoReplyError as error:
        # What would have come of it is not known: there is nothing to compare.
        return FlowTestRun(test.name, record, tuple(server.sent), (Mismatch(error.where, error.reason),))
    hide = LiteralSecrets(flow.source).mask
    found = (*_compare(flow, test, record, hide), *_compare_requests(test, server.sent, hide))
    return FlowTestRun(test.name, record, tuple(server.sent), found, tuple(server.replies_left()))


def untaken_exits(flow: Flow, runs: Iterable[FlowTestRun]) -> list[UntakenExit]:
    """The ways out that none of some tests takes, in the order of the flow.

    Args:
        flow: that was tested.
        runs: of its tests.
    """
    taken = {(visit.step, visit.exit) for run in runs for visit in run.walk.visits}
    reached = {step for step, _ in taken}
    found: list[UntakenExit] = []
    for name, step in flow.steps.items():
        if name not in reached:
            found.append(UntakenExit(name, None))
            continue
        found += [UntakenExit(name, way.label) for way in step.exits if (name, way.label) not in taken]
    return found


class _NoReplyError(Exception):
    def __init__(self, where: str, reason: str) -> None:
        super().__init__(reason)
        self.where = where
        self.reason = reason


@dataclass(slots=True)
class _Server:
    """Answers as the replies of a test say: those of a step in their order, the last one for good."""

    replies: list[ReplyFormat]
    sent: list[SendAction] = field(default_factory=list)
    _asked: Counter[str] = field(default_factory=Counter)
    _used: set[int] = field(default_factory=set)

    def do(self, effect: Effect) -> EffectResult:
        if isinstance(effect, Wait):
            return Waited()
        if isinstance(effect, FetchFile):
            return self._file(effect)
        self.sent.append(effect)
        where, reply = self._next(effect.step.name)
        return _result(effect, _reply(reply, where))

    def replies_left(self) -> list[int]:
        return [index for index in range(len(self.replies)) if index not in self._used]

    def _file(self, effect: FetchFile) -> EffectResult:
        listed = [reply for reply in self.replies if reply.step == effect.step.name]
        following = listed[min(self._asked[effect.step.name], len(listed) - 1)] if listed else None
        if following is None or following.error is not ErrorKind.FILE:
            return FILE
        self._next(effect.step.name)
        return TransportFailure(ErrorKind.FILE, "the test makes this file unavailable", Sent.NO)

    def _next(self, step: str) -> tuple[str, ReplyFormat]:
        listed = [index for index, reply in enumerate(self.replies) if reply.step == step]
        if not listed:
            known = f"; there are replies for {', '.join(dict.fromkeys(r.step for r in self.replies))}"
            reason = f"{step!r} sends a request, and the test has no reply for it{known if self.replies else ''}"
            raise _NoReplyError("replies", reason)
        index = listed[min(self._asked[step], len(listed) - 1)]
        self._asked[step] += 1
        self._used.add(index)
        return f"replies[{index}]", self.replies[index]


def _reply(reply: ReplyFormat, where: str) -> Reply:
    if reply.error is ErrorKind.FILE:
        raise _NoReplyError(where, f"an error of kind 'file', but the request of {reply.step!r} has no file to fetch")
    if reply.error in _MADE_OF_REPLIES:
        why = _MADE_OF_REPLIES[reply.error]
        raise _NoReplyError(where, f"an error of kind {reply.error.value!r} comes from a reply: {why}")
    headers = dict(reply.headers)
    if reply.error is not None:
        # A reply that is too large has begun as one.
        head = HttpResponse(reply.status_code, "", tuple(headers.items()))
        known = head if reply.error is ErrorKind.TOO_LARGE else None
        return TransportFailure(reply.error, "set by the test", _SENT.get(reply.error, Sent.UNKNOWN), known)
    if reply.response is None:
        content = b""
    elif isinstance(reply.response, str):
        content = reply.response.encode("utf-8", "replace")
    else:
        content = json.dumps(reply.response).encode("ascii")
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
    return HttpResponse(reply.status_code, "", tuple(headers.items()), content)


def _result(effect: SendAction, reply: Reply) -> ActionResult:
    """The result of a visit whose last attempt gets this reply."""

    def do(step: Step) -> Answer:
        match step:
            case Prepare():
                return step.effect.request
            case Recall():
                return []
            case Intend():
                return 0.0
            case Exchange():
                return reply
            case _:
                return None

    rule = replace(effect.step.retry, attempts=1)
    only = structs.replace(effect, step=replace(effect.step, retry=rule))
    return carry_out(deliver(only, clock=lambda: 0.0), do)


def _compare(flow: Flow, test: FlowTestFormat, record: Walk, hide: Hide) -> Iterator[Mismatch]:
    expect = test.expect
    if expect.path is not None and expect.path != record.path:
        yield Mismatch("path", _where_paths_part(expect.path, record), list(expect.path), list(record.path))
    state = record.state.value if record.state else None
    if expect.state is not None and expect.state != state:
        found = mismatch("state", expect.state, state)
        yield replace(found, message=f"{found.message}: {record.reason}") if record.reason else found
    texts = FlowTexts(flow.source, frozenset(flow.steps))
    for written, value in expect.variables.items():
        got = texts.reference(written).resolve(record.variables)
        yield from differences(value, got, f"variables.{written}", hide)


def _where_paths_part(expected: list[str], record: Walk) -> str:
    path = record.path
    at = next((i for i, (one, other) in enumerate(zip(expected, path, strict=False)) if one != other), None)
    if at is not None:
        before = record.visits[at - 1] if at else None
        left = f", because {before.step!r} was left by {before.exit!r}" if before else ""
        return f"step {at + 1}: expected {expected[at]!r}, got {path[at]!r}{left}"
    if len(path) > len(expected):
        return f"expected to end after step {len(expected)}, continues with {path[len(expected)]!r}"
    reason = f": {record.reason}" if record.reason else ""
    return f"ends after step {len(path)}, expected {expected[len(path)]!r} next{reason}"


def _compare_requests(test: FlowTestFormat, sent: list[SendAction], hide: Hide) -> Iterator[Mismatch]:
    expected = test.expect.requests
    if expected is None:
        return
    if len(expected) != len(sent):
        requests = ((one.step.name, one.request) for one in sent)
        shown = ", ".join(f"{step!r}: {request.method} {mask_secrets(request.url)}" for step, request in requests)
        counted = f"expected {len(expected)}, got {len(sent)}{f' ({shown})' if shown else ''}"
        yield Mismatch("requests", counted, len(expected), len(sent))
    for index, (wanted, effect) in enumerate(zip(expected, sent, strict=False)):
        yield from _compare_request(wanted, effect, f"requests[{index}]", hide)


def _compare_request(wanted: ExpectedRequestFormat, effect: SendAction, where: str, hide: Hide) -> Iterator[Mismatch]:
    request = effect.request
    for key, expected, got in (
        ("step", wanted.step, effect.step.name),
        ("method", wanted.method, request.method),
        ("url", wanted.url, request.url),
    ):
        if expected is not None and expected != got:
            yield mismatch(f"{where}.{key}", expected, got, hide)
    for name, expected in wanted.headers.items():
        values = [value for key, value in request.headers if key.lower() == name.lower()]
        yield from differences(expected, ", ".join(values) if values else MISSING, f"{where}.headers.{name}", hide)
    if wanted.body is UNSET:
        return
    if isinstance(wanted.body, str):
        text = request.content.decode("utf-8", "replace")
        if wanted.body != text:
            yield mismatch(f"{where}.body", wanted.body, text, hide)
        return
    try:
        got_body = content_value(request, effect.step.plan.body_type)
    except UnparsableContent as error:
        yield Mismatch(f"{where}.body", f"the content cannot be read: {error}", hide(wanted.body))
        return
    yield from differences(wanted.body, got_body, f"{where}.body", hide)
