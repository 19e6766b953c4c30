"""Renders requests again that were sent before, and proves by their digests that they are the same to the byte.

The content of a request is not recorded. It follows from the flow, the contact's response, and the replies to earlier
requests: a walk with the recorded results asks for the same requests again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace

import msgspec

from airflow_whatsapp_flows.errors import FlowsError, ResponseError
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.secrets import HIDDEN
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.messages import MessageRecorder
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait, Waited
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.flow.walk.walk import Walk, Walking, walk

_MOST_WALKS = 5  # of one response: more than one only if it was walked again from the start
_MOST_EFFECTS = 500
_MOST_BYTES = 32 * 1024 * 1024  # of content that is rendered for one page
_DEFAULT_PORTS = {"https": ":443", "http": ":80"}

NOT_REACHED = (
    "It cannot be shown: with the recorded answers and replies, the flow as it is here does not come to this request."
)
DIFFERS = (
    "It cannot be shown: rendered again, the request differs from what was sent. The flow, the answers, or the base "
    "URL of the connection has changed since, or the flow was read from the ledger, which does not keep its secrets."
)
HAS_FILE = "It cannot be shown: it contains a file, and files are not kept."
LONG_REPLY = "It cannot be shown: an earlier reply, which it may depend on, is too long to be read here."
NO_BASE = (
    "It cannot be shown: the base URL of its connection is not known here. No reply that is recorded for this contact "
    "has it without secrets; or the flow or the answers have changed since."
)
TOO_LONG = "It cannot be shown: it would take too long to render everything that was sent for this response."
NOT_RENDERED = "It cannot be shown: the flow as it is here cannot be walked with these answers."


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """What is recorded of one attempt, as far as rendering its request again needs it.

    Attributes:
        id: number of its row.
        step: name of the action when it was sent.
        step_id: identity of the action; ``None`` if that was the name.
        visit: number of the visit of the step, from 1.
        key: idempotency key.
        digest: of the request.
        host: host and port.
        moment: epoch seconds at which the walk started.
        epoch: of the response's content.
        result: JSON; ``None`` without a result, or if it is too long to be read.
        is_long: whether the result is too long to be read.
    """

    id: int
    step: str
    step_id: str | None
    visit: int
    key: str
    digest: str
    host: str
    moment: float
    epoch: int
    result: str | None
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class RebuiltRequest:
    """A request that is proved to be the one that was sent.

    Attributes:
        action: its step.
        request: complete, with an absolute URL; without the credentials of its connection.
        hidden: values in it that nobody is to read.
    """

    action: Action
    request: HttpRequest
    hidden: Hidden


@dataclass(frozen=True, slots=True)
class _Unproved:
    """A request whose base URL may become known by a later reply."""

    attempt: RecordedAttempt
    rebuilt: RebuiltRequest


@dataclass(slots=True)
class _Rebuilding:
    """What is known while requests are rendered again.

    Attributes:
        steps: identities of the flow's steps.
        wanted: row numbers of the attempts that are looked for.
        attempts: of the walk that is followed.
        found: by row number a request, or why it cannot be shown.
        bases: base URLs that are recorded, by connection.
        unproved: requests without a base URL that gives their digest.
        left: bytes of content that may still be rendered.
    """

    steps: StepIdentities
    wanted: Set[int]
    attempts: Sequence[RecordedAttempt] = ()
    found: dict[int, RebuiltRequest | str] = field(default_factory=dict)
    bases: dict[str | None, dict[str, None]] = field(default_factory=dict)
    unproved: list[_Unproved] = field(default_factory=list)
    left: int = field(default_factory=lambda: _MOST_BYTES)

    @property
    def is_done(self) -> bool:
        return self.left < 0 or self.wanted <= self.found.keys()

    def of_visit(self, name: str, visit: int) -> list[RecordedAttempt]:
        return [one for one in self.attempts if one.visit == visit and self.steps.owner(one.step, one.step_id) == name]

    def note(self, attempts: Iterable[RecordedAttempt], why_not: str) -> None:
        """Say why attempts that are not found cannot be shown."""
        for one in attempts:
            if one.id in self.wanted:
                self.found.setdefault(one.id, why_not)

    def prove(self, attempt: RecordedAttempt, rebuilt: RebuiltRequest) -> bool:
        """Note a request if one of the base URLs gives it the recorded digest."""
        request = _prove(rebuilt.request, attempt, self.bases.get(rebuilt.request.connection, ()))
        if request is not None:
            self.found[attempt.id] = replace(rebuilt, request=request)
        return request is not None

    def end(self) -> None:
        """Prove what can be proved with the base URLs that became known later."""
        for one in self.unproved:
            connection = one.rebuilt.request.connection
            if not self.prove(one.attempt, one.rebuilt):
                self.found[one.attempt.id] = DIFFERS if self.bases.get(connection) else NO_BASE


def rebuild_requests(
    flow: Flow,
    response: ContactResponse,
    attempts: Sequence[RecordedAttempt],
    steps: StepIdentities,
    wanted: Collection[int] | None = None,
) -> dict[int, RebuiltRequest | str]:
    """Render the requests of recorded attempts again.

    Args:
        flow: that they were sent by, or a later version of it.
        response: the contact's response.
        attempts: all attempts for it, oldest first.
        steps: identities of the flow's steps.
        wanted: row numbers of the attempts whose requests are returned; all by default.

    Returns:
        By row number the request, or one sentence that says why it cannot be shown.
    """
    known = {one.id for one in attempts}
    rebuilding = _Rebuilding(steps, known if wanted is None else known & set(wanted))
    walks = dict.fromkeys((one.moment, one.epoch) for one in attempts if one.id in rebuilding.wanted)
    # The others only for the base URLs that are recorded with their replies.
    for moment, epoch in list(dict.fromkeys([*walks, *((one.moment, one.epoch) for one in attempts)]))[:_MOST_WALKS]:
        if rebuilding.is_done:
            break
        rebuilding.attempts = [one for one in attempts if (one.moment, one.epoch) == (moment, epoch)]
        _rebuild(flow, response, rebuilding)
    rebuilding.end()
    others = TOO_LONG if rebuilding.left < 0 or len(walks) > _MOST_WALKS else NOT_REACHED
    return {number: rebuilding.found.get(number, others) for number in sorted(rebuilding.wanted)}


def _rebuild(flow: Flow, response: ContactResponse, rebuilding: _Rebuilding) -> None:
    first = rebuilding.attempts[0]
    record = Walk(Variables(), messages=MessageRecorder(0))
    record.identities = rebuilding.steps.first_known((one.step, one.step_id) for one in rebuilding.attempts)
    try:
        now = dt.datetime.fromtimestamp(first.moment, dt.timezone.utc)
        walking = walk(flow, response, now=now, record=record, epoch=first.epoch)
        _follow(walking, rebuilding, record)
    except (FlowsError, OverflowError, OSError, ValueError):
        unproved = {one.attempt.id for one in rebuilding.unproved}
        rebuilding.note((one for one in rebuilding.attempts if one.id not in unproved), NOT_RENDERED)


def _follow(walking: Walking, rebuilding: _Rebuilding, record: Walk) -> None:
    """Answer a walk with recorded results until one is missing, or nothing more is wanted; note its requests."""
    done: EffectResult | None = None
    for _ in range(_MOST_EFFECTS):
        try:
            effect = walking.send(done)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration:
            return
        done = Waited() if isinstance(effect, Wait) else _answer(effect, rebuilding, record)
        if done is None or rebuilding.is_done:
            return
    rebuilding.note(rebuilding.attempts, TOO_LONG)


def _answer(effect: Effect, rebuilding: _Rebuilding, record: Walk) -> ActionResult | None:
    """Note the requests of a visit, and return its recorded result; ``None`` if it has none that can be read."""
    if isinstance(effect, Wait):
        return None
    attempts = rebuilding.of_visit(effect.step.name, effect.visit)
    results = [_result_of(one, effect) for one in attempts]
    if isinstance(effect, FetchFile):
        rebuilding.note(attempts, HAS_FILE)
    else:
        rebuilding.left -= len(effect.request.content)
        if rebuilding.left < 0:
            return None
        bases = rebuilding.bases.setdefault(effect.request.connection, {})
        bases |= dict.fromkeys(_recorded_bases(effect.request.url, [one.url for one in results if one is not None]))
        for one in attempts:
            rebuilt = RebuiltRequest(effect.step, effect.with_key(one.key).request, record.hidden)
            if one.id in rebuilding.wanted and not rebuilding.prove(one, rebuilt):
                _note_unproved(rebuilding, one, rebuilt)
    if any(one.is_long for one in attempts):
        rebuilding.note(rebuilding.attempts, LONG_REPLY)
        return None
    return next((one for one in reversed(results) if one is not None), None)


def _note_unproved(rebuilding: _Rebuilding, attempt: RecordedAttempt, rebuilt: RebuiltRequest) -> None:
    if rebuilt.request.url.startswith("/"):
        rebuilding.unproved.append(_Unproved(attempt, rebuilt))
    else:
        rebuilding.found[attempt.id] = DIFFERS


def _result_of(attempt: RecordedAttempt, effect: SendAction | FetchFile) -> ActionResult | None:
    """Return the recorded result, with the values that are hidden in it; ``None`` if there is none."""
    if attempt.result is None:
        return None
    try:
        return effect.veil.restore(ActionResult.from_value(msgspec.json.decode(attempt.result)))
    except (ResponseError, msgspec.DecodeError, AttributeError):
        return None


def _prove(request: HttpRequest, attempt: RecordedAttempt, bases: Iterable[str]) -> HttpRequest | None:
    """Return the request with the URL that gives it the recorded digest; ``None`` if there is none."""
    if not request.url.startswith("/"):
        return request if request.digest() == attempt.digest else None
    # A connection is never read here. Its base URL is in what was recorded with a reply, or follows from the host.
    for base in dict.fromkeys([*bases, *_bases_of_host(attempt.host)]):
        complete = HttpRequest(request.method, base + request.url, request.headers, request.content, request.connection)
        if complete.digest() == attempt.digest:
            return complete
    return None


def _recorded_bases(path: str, urls: Sequence[str]) -> Iterator[str]:
    wanted = path.partition("?")[0]
    for url in urls:
        before = url.partition("?")[0]
        if wanted.startswith("/") and before.endswith(wanted) and HIDDEN not in before:
            yield before.removesuffix(wanted)


def _bases_of_host(host: str) -> Iterator[str]:
    for scheme, port in _DEFAULT_PORTS.items():
        yield f"{scheme}://{host}"
        yield f"{scheme}://{host.removesuffix(port)}"
