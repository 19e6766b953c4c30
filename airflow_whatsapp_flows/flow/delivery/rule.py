"""The delivery rules: when a request may be sent again."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass

import msgspec

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
# Fates of a reply with readable content; slow_down_when is evaluated only for these.
_READABLE = (None, ErrorKind.STATUS, ErrorKind.SUCCESS_WHEN)
KEY_LIFETIME = 82_800.0
"""Seconds for which a key is trusted: one hour less than the 24 hours for which servers commonly keep a key."""


def default_delivery(method: str) -> Delivery:
    """The default delivery of a method."""
    return Delivery.IDEMPOTENT if method in _IDEMPOTENT_METHODS else Delivery.AT_MOST_ONCE


@dataclass(frozen=True, slots=True)
class RetryRule:
    """When one action is retried.

    Attributes:
        delivery: what may be done if the outcome of a request is unknown.
        attempts: maximum attempts, including the first.
        wait: seconds before the second attempt.
        max_wait: maximum seconds of one wait, including ``Retry-After``.
        backoff: factor by which each wait is longer than the previous one.
        statuses: status codes to retry; under ``at_most_once``, listing one means that the server did not process the
            request.
        key_lifetime: seconds from the first attempt during which ``keyed`` reuses one key.
        has_error_exit: whether an error continues with another step. If so, a server error under ``at_most_once`` is an
            answer, as on the platform; otherwise its outcome is unknown.
        slow_down_when: an expression over the result; if true, the request was not processed and the server asks to
            wait, in every mode.
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
        """A rule whose statuses default to those of the delivery."""
        if statuses is None:
            chosen = _NOT_PROCESSED if delivery is Delivery.AT_MOST_ONCE else _TRANSIENT
        else:
            chosen = tuple(statuses)
        return cls(delivery, attempts, wait, max_wait, backoff, chosen)

    def asks_to_slow_down(self, result: ActionResult) -> bool:
        """Whether ``slow_down_when`` is true for a reply; false if it cannot be evaluated."""
        if self.slow_down_when is None or (result.error.kind if result.error else None) not in _READABLE:
            return False
        try:
            return bool(self.slow_down_when.evaluate(result.as_value()))
        except RenderError:
            return False

    def may_send_again(self, result: ActionResult) -> bool:
        """Whether the same request may be sent again after this attempt.

        Args:
            result: of this attempt alone, regardless of earlier ones.
        """
        return TABLE[event_of(result, self)][self.delivery].again

    def cap(self, retry: int) -> float:
        """Maximum seconds to wait before retry number ``retry`` (from 1); the jitter is below it."""
        return float(min(self.max_wait, self.wait * self.backoff ** (retry - 1)))


def fate_of(result: ActionResult, rule: RetryRule) -> Fate:
    """Determine the fate of an attempt.

    Args:
        result: of the attempt.
        rule: of the action; a status that it lists under ``at_most_once`` means that nothing was processed.
    """
    if result.error is not None and result.error.sent is Sent.UNKNOWN:
        return Fate.UNKNOWN  # also where an earlier attempt left it open, whatever was replied to the last one
    verdict = TABLE[event_of(result, rule)][rule.delivery]
    return verdict.fate_with_exit or verdict.fate if rule.has_error_exit else verdict.fate


def event_of(result: ActionResult, rule: RetryRule) -> Event:
    """The row of the delivery table that an attempt belongs to.

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
    """Whether a status means that the server failed, so that it may have processed the request."""
    return status >= 500 or status == 408


def why_not_again(rule: RetryRule, result: ActionResult) -> str | None:
    """Explain why the rule does not allow a request to be sent again, and how to change that.

    Args:
        rule: of the action.
        result: of the action.

    Returns:
        ``None`` if no other attempt is expected: there is no error, or all attempts were made.
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
        return f"the server answered {status}"
    return "another attempt would fail with the same error"


def is_complete_2xx(result: ActionResult) -> bool:
    """Whether a complete 2xx was received: only that settles the outcome of earlier attempts."""
    error = result.error
    return error is None or (error.sent is Sent.YES and 200 <= (result.status_code or 0) <= 299)


def retry_after(result: ActionResult, now: dt.datetime) -> float | None:
    """Seconds to wait as requested by a reply (RFC 9110 §10.2.3: seconds, or an HTTP date).

    Args:
        result: of the reply.
        now: an aware time.

    Returns:
        At least 0; ``None`` if the field is absent or invalid.
    """
    text = (result.headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text), 10**9)) if len(text) <= 100 else 1e9
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # slow to import, and rarely needed

    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # The asctime form of RFC 9110 §5.6.7 has no zone and means UTC.
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
    return max(0.0, (moment - now).total_seconds())


def idempotency_key(*parts: str | int | None) -> str:
    """A key that is the same for the same parts, and reveals nothing about them.

    In a flow, the parts are flow ID, step, response ID, visit, and epoch; in a hand-written DAG, the DAG, task, run ID,
    and map index.
    """
    return hashlib.sha256(_ascii_json(parts)).hexdigest()[:32]


def _ascii_json(parts: tuple[str | int | None, ...]) -> bytes:
    """The parts as compact JSON in ASCII, as the json module writes it; msgspec takes a fifth of the time."""
    try:
        text = msgspec.json.encode(parts)
    except UnicodeEncodeError:  # half of a surrogate pair
        text = b"\x7f"
    return text if text.isascii() and b"\x7f" not in text else _COMPACT.encode(parts).encode("ascii")
