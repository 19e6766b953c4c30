"""Delivers the request of an action: decide, intend, exchange, note. The one protocol of all senders, without I/O.

A sender drives :func:`deliver`: it carries out each step that the generator yields, and sends back what came of it.
Tasks, replays, ``whatsapp-flows run``, a flow's tests, and the estimate of a replay differ only in how they carry out
a step: where attempts are stored, who waits, and whether there is a server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TypeVar

import msgspec
from msgspec import Struct

from airflow_whatsapp_flows.flow.delivery.decision import Attempt, SendNext, Settled, next_move, was_withdrawn
from airflow_whatsapp_flows.flow.delivery.rule import RetryRule, fate_of
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.reply.result import ActionResult, SentRequest, classify
from airflow_whatsapp_flows.flow.reply.shape import ReplyShape
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, HttpResponse, Reply, TransportFailure
from airflow_whatsapp_flows.flow.walk.perform import SendAction

T = TypeVar("T")


class Prepare(Struct, frozen=True):
    """Step: complete the request with what its connection adds; answer with the :class:`HttpRequest`.

    Attributes:
        effect: the action, with the key that its request is sent under.
    """

    effect: SendAction


class Recall(Struct, frozen=True):
    """Step: find the attempts so far; answer with them as a list.

    Attributes:
        effect: the action, with the key that its request is sent under.
        request: the complete request.
        base: key of the visit before any change of the request's bytes.
    """

    effect: SendAction
    request: HttpRequest
    base: str


class Rest(Struct, frozen=True):
    """Step: wait for a delay of the flow, for this number of seconds. The answer is ignored."""

    seconds: float


class Pause(Struct, frozen=True):
    """Step: wait before another attempt; answer whether to make it.

    Attributes:
        seconds: may be 0.
        result: of the last attempt; ``None`` if unknown.
    """

    seconds: float
    result: ActionResult | None


class Intend(Struct, frozen=True):
    """Step: make the intent durable, before the first byte; answer with the epoch seconds recorded as its begin.

    Attributes:
        effect: the action, with the key of the request.
        request: the complete request.
        digest: of the request.
        number: of the attempt, from 1.
    """

    effect: SendAction
    request: HttpRequest
    digest: str
    number: int


class Exchange(Struct, frozen=True):
    """Step: send the request, once; answer with the reply, or with ``None`` if it was withdrawn and nothing was sent.

    Attributes:
        request: the complete request.
    """

    request: HttpRequest


class Note(Struct, frozen=True):
    """Step: record the outcome of the attempt. The answer is ignored.

    Attributes:
        effect: the action, with the key of the request.
        attempt: with its fate and result; the latter is ``None`` if nothing was sent.
    """

    effect: SendAction
    attempt: Attempt

    def result_for_ledger(self, *, keep_content: bool = True, keep_shape: bool = False) -> str | None:
        """Return the result as the ledger stores it: JSON, with sensitive values hidden.

        Args:
            keep_content: whether to store what a successful reply contained.
            keep_shape: whether to store its shape instead.
        """
        result = self.attempt.result
        if result is None:
            return None
        value = self.effect.veil.hide(result).as_value()
        if not keep_content and self.attempt.fate is Fate.SUCCEEDED:
            shape = {"shape": ReplyShape.of(result.response, result.headers).as_value()} if keep_shape else {}
            value = {**value, "response": None, "headers": {}, **shape}
        return msgspec.json.encode(value).decode()


Step = Prepare | Recall | Rest | Pause | Intend | Exchange | Note
Answer = HttpRequest | list[Attempt] | bool | float | Reply | None
Delivering = Generator[Step, Answer, ActionResult]


def _as_received(result: ActionResult, reply: Reply) -> ActionResult:
    return result


def _no_delay() -> float:
    return 0.0


def deliver(
    effect: SendAction,
    *,
    review: Callable[[ActionResult, Reply], ActionResult] = _as_received,
    delay: Callable[[], float] = _no_delay,
    clock: Callable[[], float] = time.time,
) -> Delivering:
    """Deliver the request of one visit of an action, with the attempts that its rule allows.

    Args:
        effect: what the walk asks for.
        review: changes a result before it is recorded, such as by masking secrets.
        delay: seconds that the flow still waits before its next request.
        clock: epoch seconds.

    Yields:
        The steps to carry out. :class:`Prepare` and :class:`Recall` come first, and again after each change of the key.
        Each :class:`Intend` is followed by its :class:`Exchange` and its :class:`Note`, whatever comes of it.

    Returns:
        The result of the action.

    Raises:
        TypeError: a step is answered with another type than it needs.
    """
    base, rule = effect.idempotency_key, effect.step.retry
    while True:
        request = _expect(HttpRequest, (yield Prepare(effect)))
        attempts = _expect(list, (yield Recall(effect, request, base)))
        move = next_move(rule, attempts, request, effect.idempotency_key, clock())
        while isinstance(move, SendNext):
            # Only here, because the delays before recorded requests are over.
            if (seconds := delay()) > 0:
                yield Rest(seconds)
            else:
                if _pauses_after(attempts) and not (yield Pause(move.wait, attempts[-1].result)):
                    return _last_result(rule, attempts, request, effect.idempotency_key, clock())
                attempts.append((yield from _attempt(effect, request, move.number, review)))
            move = next_move(rule, attempts, request, effect.idempotency_key, clock())
        if isinstance(move, Settled):
            return move.result
        effect = effect.with_key(move.key)


def _pauses_after(attempts: Sequence[Attempt]) -> bool:
    return bool(attempts) and not was_withdrawn(attempts[-1])


def _attempt(
    effect: SendAction, request: HttpRequest, number: int, review: Callable[[ActionResult, Reply], ActionResult]
) -> Generator[Step, Answer, Attempt]:
    digest = request.digest()
    begun_at = _expect(float, (yield Intend(effect, request, digest, number)))
    reply = yield Exchange(request)
    if reply is None:
        attempt = Attempt(number, digest, begun_at, Fate.NOT_SENT, None)
    else:
        if not isinstance(reply, (HttpResponse, TransportFailure)):
            raise TypeError(f"the answer to an Exchange must be a reply, not {type(reply).__name__}")
        sent = SentRequest(request, number, effect.idempotency_key)
        result = review(classify(reply, sent, effect.step.success_when), reply)
        attempt = Attempt(number, digest, begun_at, fate_of(result, effect.step.retry), result)
    yield Note(effect, attempt)
    return attempt


def _last_result(
    rule: RetryRule, attempts: Sequence[Attempt], request: HttpRequest, key: str, now: float
) -> ActionResult:
    move = next_move(replace(rule, attempts=1), attempts, request, key, now)
    if not isinstance(move, Settled):
        raise TypeError("only an attempt of this delivery can be the last one")
    return move.result


def advance(delivering: Delivering, answer: Answer) -> Step | ActionResult:
    """Answer a step; return the next one, or the result of the action.

    Args:
        delivering: from :func:`deliver`.
        answer: to the step it has yielded; ``None`` to start it.
    """
    try:
        return delivering.send(answer)
    except StopIteration as end:
        result: ActionResult = end.value
        return result


def carry_out(delivering: Delivering, do: Callable[[Step], Answer]) -> ActionResult:
    """Carry out all steps with one function, and return the result of the action."""
    step = advance(delivering, None)
    while not isinstance(step, ActionResult):
        step = advance(delivering, do(step))
    return step


def _expect(kind: type[T], answer: object) -> T:
    if not isinstance(answer, kind):
        raise TypeError(f"the answer to a step must be of type {kind.__name__}, not {type(answer).__name__}")
    return answer
