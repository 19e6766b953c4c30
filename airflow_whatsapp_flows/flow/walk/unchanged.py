"""Whether a contact would send what was last sent for it: the rule of ``send_when: changed``.

The contact is walked with the replies that its last walk got. It is unchanged if it asks for the same requests in the
same order. Single requests are not compared: what one of them does at the server may depend on the others.

What a lookup replied then is no evidence: today its reply may be another one, and with it the requests that follow.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.model import Action, Flow, Step
from airflow_whatsapp_flows.flow.model.flow import exits_of
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.messages import MessageRecorder
from airflow_whatsapp_flows.flow.walk.perform import Effect, SendAction, Wait, Waited
from airflow_whatsapp_flows.flow.walk.record import State, Walk
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.walk import walk

UNCHANGED = "unchanged"
"""Code of the reason of contacts that are skipped because they would send the same again."""


class SettledRequest(Struct, frozen=True):
    """A request of a walk, with the reply that settled it.

    Attributes:
        step: current name of the action.
        visit: from 1.
        key: idempotency key that it was sent under.
        digest: of the request.
        method: of the request.
        succeeded: whether it was a success; only a request that changes nothing may be here without one.
        result: JSON of its result.
        status_code: of the reply.
    """

    step: str
    visit: int
    key: str
    digest: str
    method: str
    succeeded: bool
    result: str
    status_code: int | None = None

    @property
    def is_safe(self) -> bool:
        """Whether it changes nothing at the server."""
        return self.method in SAFE_METHODS

    @property
    def lacks_reply(self) -> bool:
        """Whether its reply is not recorded, because no step read it then, or because a person said that it arrived."""
        result = _recorded_result(self)
        return result.response is None and not result.headers


class SentWalk(Struct, frozen=True):
    """The last walk that sent something for a response or its person. Everything that it changes succeeded.

    Attributes:
        response_id: identity of its response.
        where: the replay or DAG run, for people.
        sent_at: when its last request was sent, epoch seconds.
        requests: in the order in which they were sent.
    """

    response_id: str
    where: str
    sent_at: float
    requests: tuple[SettledRequest, ...]

    def find(self, step: str, visit: int) -> SettledRequest | None:
        """Return the request of a visit, if there was one."""
        return next((one for one in self.requests if (one.step, one.visit) == (step, visit)), None)

    def result_for(self, response_id: str, effect: SendAction) -> ActionResult:
        """Return the recorded result of an action that would send the same; without the reply to another response.

        Args:
            response_id: identity of the response that it is for.
            effect: asks for the same request.
        """
        known = self.find(effect.step.name, effect.visit)
        if known is None:
            raise TypeError("a walk that is unchanged asks for the same requests")
        result = effect.veil.restore(_recorded_result(known))
        return result if self.response_id == response_id else replace(result, response=None, headers={})

    def reason(self, response_id: str) -> str:
        """Return the reason why nothing is sent for a response, for people."""
        moment = dt.datetime.fromtimestamp(self.sent_at, dt.timezone.utc)
        whose = "" if self.response_id == response_id else f", for the response {self.response_id}"
        return f"{UNCHANGED}: {self.where} sent the same at {moment:%Y-%m-%d %H:%M:%S} UTC{whose}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares contacts of a flow with what was last sent for them.

    Attributes:
        complete: adds to the request of an action what its connection adds.
        resend: see :func:`~airflow_whatsapp_flows.flow.walk.walk.walk`.
        lookups: see :func:`find_lookups`.
    """

    flow: Flow
    complete: Callable[[SendAction], HttpRequest]
    resend: bool = False
    lookups: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lookups", find_lookups(self.flow))

    def is_unchanged(self, response: ContactResponse, last: SentWalk, now: dt.datetime) -> bool:
        """Whether a walk would send what was last sent, if it got the same replies.

        Args:
            last: what was last sent for the response or its person.
            now: an aware time, at which the walk starts.
        """
        expected = [request for request in last.requests if not request.is_safe]
        record = Walk(Variables(), messages=MessageRecorder(0))
        walking = walk(self.flow, response, now=now, record=record, resend=self.resend)
        asked = 0
        try:
            effect = next(walking)
            while True:
                if isinstance(effect, Wait):
                    effect = walking.send(Waited())
                    continue
                known = self._find_same(effect, last)
                if known is None or not (known.is_safe or (asked < len(expected) and expected[asked] is known)):
                    return False
                asked += not known.is_safe
                effect = walking.send(effect.veil.restore(self._result_of(known)))
        except StopIteration:
            return record.state is State.COMPLETED and asked == len(expected)
        finally:
            walking.close()

    def _find_same(self, effect: Effect, last: SentWalk) -> SettledRequest | None:
        # Files would have to be fetched before they can be compared.
        known = last.find(effect.step.name, effect.visit) if isinstance(effect, SendAction) else None
        if known is None or not isinstance(effect, SendAction) or known.step in self.lookups:
            return None
        if known.step in self.flow.replies_read and known.lacks_reply:
            return None
        # Under `keyed` the key is a part of the request, and it differs for other content.
        request = self.complete(effect.with_key(known.key))
        return known if request.digest() == known.digest else None

    def _result_of(self, known: SettledRequest) -> ActionResult:
        if known.succeeded and known.step not in self.flow.replies_read:
            return ActionResult(
                outcome=Outcome.SUCCESS,
                status_code=known.status_code,
                headers={},
                method=known.method,
                url="",
                idempotency_key=known.key,
            )
        return _recorded_result(known)


def find_lookups(flow: Flow) -> frozenset[str]:
    """Find the actions that change nothing at the server, but whose reply may decide about what is changed after them.

    Their reply is read by a step, or chooses the next one, and an action that changes something may follow.
    """
    return frozenset(
        name
        for name, step in flow.steps.items()
        if _is_safe(step) and (name in flow.replies_read or _chooses(step)) and _may_change(flow, name)
    )


def _chooses(step: Step) -> bool:
    return len({way.target for way in step.exits}) > 1


def _is_safe(step: Step) -> bool:
    return isinstance(step, Action) and step.plan.method in SAFE_METHODS


def _may_change(flow: Flow, start: str) -> bool:
    """Whether an action that changes something may follow a step."""
    reached: set[str] = set()
    open_steps = [start]
    while open_steps:
        for name in {way.target for way in exits_of(flow.steps[open_steps.pop()])} - reached:
            if name is None:
                continue
            if isinstance(flow.steps[name], Action) and not _is_safe(flow.steps[name]):
                return True
            reached.add(name)
            open_steps.append(name)
    return False


def _recorded_result(known: SettledRequest) -> ActionResult:
    return ActionResult.from_value(msgspec.json.decode(known.result))
