"""When a request may be sent again: the rules of delivery, in one pure place."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.delivery.table import TABLE, Delivery, Event, Fate
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, Sent
from airflow_whatsapp_flows.flow.template.cage import Expression

_COMPACT = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 §9.2.1: they change nothing
_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110 §9.2.2, less TRACE
_TRANSIENT: tuple[int, ...] = (408, 425, 429, 500, 502, 503, 504)
_NOT_PROCESSED: tuple[int, ...] = (429,)  # RFC 6585 §4: refused for its rate, so not applied
# What a reply with readable content leaves behind; slow_down_when is asked of nothing else.
_READABLE = (None, ErrorKind.STATUS, ErrorKind.SUCCESS_WHEN)
KEY_LIFETIME = 82_800.0
"""Seconds that a key is trusted: an hour below the day for which servers commonly keep one."""


def default_delivery(method: str) -> Delivery:
    """The delivery of a method when the flow names none."""
    return Delivery.IDEMPOTENT if method in _IDEMPOTENT_METHODS else Delivery.AT_MOST_ONCE


@dataclass(frozen=True, slots=True)
class RetryRule:
    """When one action is tried again.

    Attributes:
        delivery: what may happen when a request's fate is not known.
        attempts: tries in all, the first one included.
        wait: seconds before the second try.
        max_wait: seconds that one wait has at most, ``Retry-After`` included.
        backoff: each wait is this many times the one before.
        statuses: status codes that are tried again; under ``at_most_once`` listing one says that the
            server did not process the request.
        key_lifetime: seconds from the first attempt within which ``keyed`` sends one key again.
        has_error_exit: whether an error goes on with a step of the flow. A server error under ``at_most_once`` is then
            an answer, as on the platform; without one nobody says what it did.
        slow_down_when: an expression over the result; a reply of which it holds was not processed and asks to wait,
            in every mode.
    """

    delivery: Delivery
    attempts: int = 4
    wait: float = 1.0
    max_wait: float = 60.0
    backoff: float = 2.0
    statuses: tuple[int, ...] = ()
    key_lifetime: float = KEY_LIFETIME
    has_error_exit: bool = False
    slow_down_when: Expression | None = None

    @classmethod
    def of(
        cls,
        delivery: Delivery,
        *,
        attempts: int = 4,
        wait: float = 1.0,
        max_wait: float = 60.0,
        backoff: float = 2.0,
        statuses: list[int] | None = None,
    ) -> RetryRule:
        """A rule whose statuses follow from the delivery when none are given."""
        if statuses is None:
            chosen = _NOT_PROCESSED if delivery is Delivery.AT_MOST_ONCE else _TRANSIENT
        else:
            chosen = tuple(statuses)
        return cls(delivery, attempts, wait, max_wait, backoff, chosen)

    def asks_to_slow_down(self, result: ActionResult) -> bool:
        """Whether ``slow_down_when`` holds of a reply; where it cannot be computed, it does not."""
        kind = result.error.kind if result.error else None
        if self.slow_down_when is None or kind not in _READABLE:
            return False
        try:
            return bool(self.slow_down_when.evaluate(result.as_value()))
        except RenderError:
            return False

    def may_send_again(self, result: ActionResult) -> bool:
        """Whether the same request may be sent once more after this attempt.

        Args:
            result: of the attempt, as it is without the attempts before.
        """
        return TABLE[event_of(result, self)][self.delivery].again

    def cap(self, retry: int) -> float:
        """Seconds that the wait before retry number ``retry`` (from 1) has at most; the jitter is below it."""
        return float(min(self.max_wait, self.wait * self.backoff ** (retry - 1)))


def fate_of(result: ActionResult, rule: RetryRule) -> Fate:
    """What is known of an attempt.

    Args:
        result: what came of it.
        rule: of the action; a status that it lists under ``at_most_once`` says that nothing was processed.
    """
    if result.error is not None and result.error.sent is Sent.UNKNOWN:
        return Fate.UNKNOWN  # also where an earlier attempt left it open, whatever was replied to the last one
    verdict = TABLE[event_of(result, rule)][rule.delivery]
    return verdict.fate_with_exit or verdict.fate if rule.has_error_exit else verdict.fate


def event_of(result: ActionResult, rule: RetryRule) -> Event:
    """The row of the table of delivery that an attempt belongs to.

    Args:
        result: what came of it.
        rule: of the action.
    """
    error = result.error
    if error is not None and error.sent is Sent.NO:
        # A refusal by policy or by a certificate is the same next time.
        return Event.NO_CONNECTION if error.kind in (ErrorKind.CONNECT, ErrorKind.TIMEOUT) else Event.NOT_ALLOWED
    if rule.asks_to_slow_down(result):
        return Event.SLOW_DOWN
    if error is None:
        return Event.ACCEPTED
    if error.sent is Sent.UNKNOWN and error.kind is not ErrorKind.STATUS:
        return Event.NO_REPLY
    status = result.status_code or 0
    if error.kind is ErrorKind.UNPARSABLE or 200 <= status <= 299:
        return Event.REJECTED if error.kind is ErrorKind.SUCCESS_WHEN else Event.UNUSABLE
    is_listed, is_read = status in rule.statuses, error.kind is ErrorKind.STATUS
    if not is_server_failure(status):
        return Event.REFUSED_LISTED if is_listed and is_read else Event.REFUSED
    if not is_listed:
        return Event.SERVER_FAILURE
    return Event.SERVER_FAILURE_LISTED if is_read else Event.SERVER_FAILURE_LISTED_UNREAD


def is_server_failure(status: int) -> bool:
    """Whether a status says that the server failed, and so not that it did nothing."""
    return status >= 500 or status == 408


def why_not_again(rule: RetryRule, result: ActionResult) -> str | None:
    """Why the rule does not let a request be sent again, and what would change that; for people.

    Args:
        rule: of the action.
        result: what the action came to.

    Returns:
        ``None`` when no other attempt is expected: there is no error, the rule has one attempt, or all were made.
    """
    error, status = result.error, result.status_code
    if error is None or rule.attempts <= 1 or rule.may_send_again(result):
        return None
    if error.kind is ErrorKind.STATUS:
        if rule.delivery is Delivery.AT_MOST_ONCE and is_server_failure(status or 0):
            return (
                f"delivery is at_most_once, and the server may have applied the request before it answered {status}; "
                f"set delivery to keyed or idempotent if the server accepts repeats, or list {status} in "
                "retry.statuses if the server uses it for requests that it did not process"
            )
        return f"{status} is not in retry.statuses ({', '.join(map(str, rule.statuses)) or 'none'})"
    if error.sent is Sent.UNKNOWN:
        if rule.delivery is not Delivery.AT_MOST_ONCE:
            return None
        return (
            "delivery is at_most_once, and the server may have applied the request; "
            "set delivery to keyed or idempotent if the server accepts repeats"
        )
    if error.sent is Sent.YES:
        return f"the server has answered {status}"
    return "another attempt would meet the same error"


def is_complete_2xx(result: ActionResult) -> bool:
    """Whether all of a 2xx reply came: nothing else tells what became of the attempts before it."""
    error = result.error
    return error is None or (error.sent is Sent.YES and 200 <= (result.status_code or 0) <= 299)


def retry_after(result: ActionResult, now: dt.datetime) -> float | None:
    """Seconds that a reply asks to wait (RFC 9110 §10.2.3: seconds, or an HTTP date).

    Args:
        result: that was made of the reply.
        now: an aware time.

    Returns:
        At least 0; ``None`` when the field is absent or is neither of the two.
    """
    text = (result.headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text), 10**9)) if len(text) <= 100 else 1e9
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # The asctime form of RFC 9110 §5.6.7 names no zone and means UTC.
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
    return max(0.0, (moment - now).total_seconds())


def idempotency_key(*parts: str | int | None) -> str:
    """A key that is the same for the same parts, and says nothing about them.

    In a flow the parts are flow id, step, response id, visit and epoch; in a hand-written DAG: dag, task,
    run id and map index.
    """
    text = _COMPACT.encode(parts)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]
