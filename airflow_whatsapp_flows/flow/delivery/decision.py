"""What to do next in one visit of an action, given all attempts so far.

A sender stores the attempts and calls :func:`next_move` before each one. It makes no difference whether they are stored
in memory, in the state of a task, or in a ledger.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Sequence
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from airflow_whatsapp_flows.flow.delivery.rate_headers import reset_after
from airflow_whatsapp_flows.flow.delivery.rule import (
    SAFE_METHODS,
    RetryRule,
    idempotency_key,
    is_complete_2xx,
    is_server_failure,
    retry_after,
)
from airflow_whatsapp_flows.flow.delivery.table import (
    CARRIED_OUT_FATES,
    EVENT_OF_FATE,
    TABLE,
    UNKNOWN_FATES,
    Delivery,
    Event,
    Fate,
)
from airflow_whatsapp_flows.flow.reply.result import ActionError, ActionResult, Outcome, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, Sent, TransportFailure

MAX_CLOCK_STEP = 300.0
"""Seconds that a clock may go back between two attempts; beyond this, the age of a key is unknown."""

_REFUSING = (429, 503)  # only for these statuses does a reset mean when the server accepts the request


class Attempt(Struct, frozen=True):
    """One attempt to send the request of a visit.

    Attributes:
        number: from 1, for each idempotency key.
        digest: of the request that was, or was about to be, sent; see :meth:`HttpRequest.digest`.
        begun_at: epoch seconds, recorded before the first byte.
        fate: what is known about it; ``None`` if the sender stopped before the outcome.
        result: its own result, regardless of earlier attempts; ``None`` if unknown.
        current: whether it belongs to this round. Attempts of earlier rounds (another replay, a cleared task) count for
            what may have been applied, but not for ``retry.attempts``.
        status_code: of the reply; known even if the result is not.
    """

    number: int
    digest: str
    begun_at: float
    fate: Fate | None
    result: ActionResult | None
    current: bool = True
    status_code: int | None = None


class SendNext(Struct, frozen=True):
    """Send the request.

    Attributes:
        number: of the attempt.
        wait: seconds before it.
    """

    number: int
    wait: float


class Settled(Struct, frozen=True):
    """Send nothing more.

    Attributes:
        result: the result of the action.
    """

    result: ActionResult


class Rekey(Struct, frozen=True):
    """Continue under a new key: the request was changed, and the old one was not applied.

    Attributes:
        key: the new key, from :func:`derive_key`.
    """

    key: str


Move = SendNext | Settled | Rekey


def next_move(
    rule: RetryRule,
    attempts: Sequence[Attempt],
    request: HttpRequest,
    key: str,
    now: float,
    *,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Move:
    """Decide what to do next in one visit of an action.

    Args:
        rule: of the action.
        attempts: all attempts at this visit, by number, under any key except the key of a :class:`Rekey`; for that key,
            only its own.
        request: the request that would be sent.
        key: idempotency key of the visit.
        now: epoch seconds.
        jitter: a number between two others; random by default.
    """
    if not attempts:
        return SendNext(1, 0.0)
    if attempts[-1].fate in CARRIED_OUT_FATES and attempts[-1].result is not None:  # the usual case, cheap to check
        return Settled(attempts[-1].result)
    return _next_of(_AttemptHistory(rule, attempts, request, key), rule, attempts, now, jitter)


def _next_of(
    history: _AttemptHistory,
    rule: RetryRule,
    attempts: Sequence[Attempt],
    now: float,
    jitter: Callable[[float, float], float],
) -> Move:
    settled = history.final_result()
    if settled is not None:
        return Settled(settled)
    if any(attempt.digest != history.digest for attempt in attempts):
        return Settled(history.other_bytes()) if history.is_bound else Rekey(derive_key(history.key, history.digest))
    if history.may_be_applied and rule.delivery is Delivery.AT_MOST_ONCE:
        return Settled(history.result())
    if history.may_be_applied and _is_stale(rule, attempts, now):
        return Settled(history.stale())
    last, made = attempts[-1], sum(attempt.current and not was_withdrawn(attempt) for attempt in attempts)
    if not last.current or was_withdrawn(last):
        return SendNext(last.number + 1, 0.0)
    if made >= rule.attempts or not history.may_send_again():
        return Settled(history.result())
    wait = retry_wait(rule, made, last.result, now, jitter=jitter)
    if history.may_be_applied and _is_stale(rule, attempts, now + wait):
        return Settled(history.stale())
    return SendNext(last.number + 1, wait)


def may_have_been_applied(rule: RetryRule, attempt: Attempt) -> bool:
    """Whether the server may have processed an attempt.

    An answered attempt takes an exit of the flow, which does not mean that nothing was done. A 5xx or 408 means that
    the server failed, and a 2xx that ``success_when`` rejects means that the request had some effect.

    Args:
        rule: of the action. A status that it lists under ``at_most_once``, and a reply for which ``slow_down_when`` is
            true, mean that the request was not processed.
        attempt: an attempt at the action.
    """
    return TABLE[_event_of_attempt(rule, attempt)][rule.delivery].applied


def _event_of_attempt(rule: RetryRule, attempt: Attempt) -> Event:
    """The row of the table that an attempt belongs to, by what was recorded of it."""
    if attempt.fate is not Fate.ANSWERED:
        return EVENT_OF_FATE[attempt.fate]
    if _is_slow(rule, attempt):
        return Event.SLOW_DOWN
    status = (attempt.result.status_code if attempt.result else attempt.status_code) or 0
    if 200 <= status <= 299:
        return Event.REJECTED
    if not is_server_failure(status):
        return Event.REFUSED
    return Event.SERVER_FAILURE_LISTED_UNREAD if status in rule.statuses else Event.SERVER_FAILURE


def forbids_another(rule: RetryRule, attempts: Sequence[Attempt], now: float) -> bool:
    """Whether the attempts at a visit rule out another one, even of the same bytes and in a new round.

    Args:
        rule: of the action.
        attempts: all attempts at the visit.
        now: epoch seconds.
    """
    if any(attempt.fate in CARRIED_OUT_FATES for attempt in attempts):
        return True
    if not any(may_have_been_applied(rule, attempt) for attempt in attempts):
        return False
    return rule.delivery is Delivery.AT_MOST_ONCE or _is_stale(rule, attempts, now)


def _is_stale(rule: RetryRule, attempts: Sequence[Attempt], now: float) -> bool:
    """Whether the server may have forgotten the key."""
    begun = [attempt.begun_at for attempt in attempts]
    expired = now - min(begun) >= rule.key_lifetime or max(begun) - now > MAX_CLOCK_STEP
    return rule.delivery is Delivery.KEYED and expired


def _is_slow(rule: RetryRule, attempt: Attempt) -> bool:
    """Whether the reply to an attempt only asked to slow down."""
    result = attempt.result
    if result is None or attempt.fate is not Fate.ANSWERED:
        return False
    # For a 2xx, the fate is sufficient: its content may no longer be available.
    return result.error is None or rule.asks_to_slow_down(result)


def was_withdrawn(attempt: Attempt) -> bool:
    """Whether nothing was sent: the sender stopped before the first byte, or a person resolved it so."""
    return attempt.fate is Fate.NOT_SENT and attempt.result is None


def derive_key(key: str, digest: str) -> str:
    """Derive the key of a changed request from the key of the visit and the digest of the request."""
    return idempotency_key(key, digest)


class _AttemptHistory:
    """The attempts at one visit, and conclusions from them."""

    def __init__(self, rule: RetryRule, attempts: Sequence[Attempt], request: HttpRequest, key: str) -> None:
        self.may_be_applied = any(may_have_been_applied(rule, attempt) for attempt in attempts)
        self._rule = rule
        self._attempts = attempts
        self._request = request
        self.key = key

    @cached_property
    def digest(self) -> str:
        return self._request.digest()

    def final_result(self) -> ActionResult | None:
        """The result of the attempt that the server is known to have processed, if any."""
        found = next((attempt for attempt in self._attempts if attempt.fate in CARRIED_OUT_FATES), None)
        if found is None or found.result is not None:
            return None if found is None else found.result
        if found.fate is Fate.SUCCEEDED:
            return replace(self._make_result(ErrorKind.UNPARSABLE, "", Sent.YES), outcome=Outcome.SUCCESS, error=None)
        return self._make_result(
            ErrorKind.UNPARSABLE, "the server processed the request; its reply is unknown", Sent.YES
        )

    @property
    def is_bound(self) -> bool:
        """Whether only the same bytes may be sent: they may have been applied, or were sent in this round."""
        unsafe = self._request.method not in SAFE_METHODS
        return (unsafe and self.may_be_applied) or any(attempt.current for attempt in self._attempts)

    def may_send_again(self) -> bool:
        """Whether the last attempt permits another one."""
        last = self._attempts[-1]
        if last.result is not None:
            return _is_slow(self._rule, last) or self._rule.may_send_again(last.result)
        return TABLE[_event_of_attempt(self._rule, last)][self._rule.delivery].again

    def result(self) -> ActionResult:
        """The last result; unknown if any attempt is, unless a complete 2xx came after it."""
        last = next((attempt for attempt in reversed(self._attempts) if not was_withdrawn(attempt)), self._attempts[-1])
        result = last.result or self._without_result(last)
        if result.error is None and _is_slow(self._rule, last):
            message = "the server did not process the request: slow_down_when is true for its reply"
            result = result.as_error(ErrorKind.SUCCESS_WHEN, message, Sent.YES)
        if result.error is None or result.method in SAFE_METHODS or not self._is_doubted():
            return result
        return result.as_error(result.error.kind, result.error.message, Sent.UNKNOWN)

    def _is_doubted(self) -> bool:
        doubted = False
        for attempt in self._attempts:
            recorded = attempt.result
            if recorded is not None and is_complete_2xx(recorded) and not _is_slow(self._rule, attempt):
                doubted = False
            elif attempt.fate in UNKNOWN_FATES and attempt is not self._attempts[-1]:
                doubted = True
        return doubted

    def stale(self) -> ActionResult:
        """The last result of a request whose key is too old to send it again."""
        result = self.result()
        why = "not sent again, because the key is older than key_lifetime or the clock went back"
        error = result.error or ActionError(ErrorKind.INTERRUPTED, "the outcome is unknown", Sent.UNKNOWN)
        return result.as_error(error.kind, f"{error.message}; {why}", self._receipt)

    def other_bytes(self) -> ActionResult:
        """The error for a request that differs from the one already sent."""
        message = (
            "nothing was sent: the request differs from the one already sent under this key; do not use values that "
            "change from one attempt to the next"
        )
        unsafe = self.may_be_applied and self._request.method not in SAFE_METHODS
        return self._make_result(ErrorKind.PROTOCOL, message, self._receipt if unsafe else Sent.NO)

    @property
    def _receipt(self) -> Sent:
        """Whether the server received what may have been applied: if it answered, it did."""
        return Sent.UNKNOWN if any(attempt.fate in UNKNOWN_FATES for attempt in self._attempts) else Sent.YES

    def _without_result(self, attempt: Attempt) -> ActionResult:
        if attempt.fate is Fate.NOT_SENT:
            return self._make_result(ErrorKind.CONNECT, "the request did not reach the server", Sent.NO)
        if attempt.fate is Fate.ANSWERED:
            return self._make_result(
                ErrorKind.STATUS, "the server rejected the request; its reply is unknown", Sent.YES
            )
        message = "the sender stopped before it received a reply; the request may have reached the server"
        return self._make_result(ErrorKind.INTERRUPTED, message, Sent.UNKNOWN)

    def _make_result(self, kind: ErrorKind, message: str, sent: Sent) -> ActionResult:
        attempted = SentRequest(self._request, self._attempts[-1].number, self.key)
        return classify(TransportFailure(kind, message, sent), attempted)


def retry_wait(
    rule: RetryRule,
    retry: int,
    result: ActionResult | None,
    now: float,
    *,
    jitter: Callable[[float, float], float] = random.uniform,
) -> float:
    """Seconds before a retry: as the server asks, or else with full jitter; never above ``max_wait``.

    Args:
        rule: of the action.
        retry: its number, from 1.
        result: of the previous attempt; ``None`` without a reply.
        now: epoch seconds.
        jitter: a number between two others; random by default.
    """
    asked = None if result is None else _server_wait(rule, result, dt.datetime.fromtimestamp(now, dt.timezone.utc))
    return jitter(0.0, rule.cap(retry)) if asked is None else min(asked, rule.max_wait)


def _server_wait(rule: RetryRule, result: ActionResult, now: dt.datetime) -> float | None:
    asked = retry_after(result, now)
    if asked is None and (result.status_code in _REFUSING or rule.asks_to_slow_down(result)):
        return reset_after(result.headers, now)
    return asked
