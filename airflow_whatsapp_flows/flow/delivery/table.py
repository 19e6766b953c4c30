"""The delivery table: for each event and mode, what is known about the attempt and whether it is sent again.

``rule`` finds the row of an attempt by its result, and ``decision`` by what is recorded if the result is unknown.
``docs/guarantees.md`` shows this table; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Delivery(str, Enum):
    """What may be done with a request whose fate is unknown.

    ``at_most_once`` never resends a request that may have been applied. ``keyed`` sends the same bytes with the
    same ``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header), for servers that support it.
    ``idempotent`` resends freely, because repeating the request has the same effect as sending it once (RFC 9110
    §9.2.2).
    """

    AT_MOST_ONCE = "at_most_once"
    KEYED = "keyed"
    IDEMPOTENT = "idempotent"


class Fate(str, Enum):
    """What is known about one attempt.

    ``not_sent``: the server did not receive it. ``answered``: its reply takes an exit of the flow;
    :func:`~airflow_whatsapp_flows.flow.delivery.decision.may_have_been_applied` tells whether the server may have
    carried it out. ``succeeded``: a complete 2xx, accepted. ``applied``: a complete but unusable 2xx. ``unknown``: may
    have been applied.
    """

    NOT_SENT = "not_sent"
    ANSWERED = "answered"
    SUCCEEDED = "succeeded"
    APPLIED = "applied"
    UNKNOWN = "unknown"


class Event(Enum):
    """Outcome of one attempt; the value is its description for people."""

    NO_CONNECTION = "no address, or no connection"
    NOT_ALLOWED = "TLS refused, or address denied"
    ACCEPTED = "complete 2xx, accepted"
    REJECTED = "complete 2xx, `success_when` is false"
    UNUSABLE = "complete 2xx that can't be used: its JSON is invalid, or it exceeds a [limit](security.md#limits)"
    SLOW_DOWN = "`slow_down_when` is true"
    REFUSED = "3xx, or 4xx other than 408"
    REFUSED_LISTED = "the same, listed in `retry.statuses` (429 is by default)"
    SERVER_FAILURE = "5xx or 408"
    SERVER_FAILURE_LISTED = "5xx or 408, listed in `retry.statuses`"
    SERVER_FAILURE_LISTED_UNREAD = "the same, and its reply exceeds a limit"
    NO_REPLY = "no reply, a truncated reply, or a killed process"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The consequence of an event in one mode.

    Attributes:
        fate: what is known about the attempt.
        again: whether the same bytes may be sent again in this round, while attempts are left.
        applied: whether the server may have carried out the request.
        fate_with_exit: what is known about the attempt if the action has an error exit; by default the same.
    """

    fate: Fate
    again: bool
    applied: bool
    fate_with_exit: Fate | None = None


CARRIED_OUT_FATES: frozenset[Fate | None] = frozenset({Fate.SUCCEEDED, Fate.APPLIED})
"""The server carried out the request."""

UNKNOWN_FATES: frozenset[Fate | None] = frozenset({None, Fate.UNKNOWN})
"""The server may have carried out the request; ``None`` if the sender stopped before the outcome."""

_N, _A, _S, _P, _U = Fate.NOT_SENT, Fate.ANSWERED, Fate.SUCCEEDED, Fate.APPLIED, Fate.UNKNOWN
_AGAIN, _END = True, False  # send again, or let the walk continue
_MAYBE, _NEVER = True, False  # applied


def _row(at_most_once: Verdict, keyed: Verdict, idempotent: Verdict) -> Mapping[Delivery, Verdict]:
    return {Delivery.AT_MOST_ONCE: at_most_once, Delivery.KEYED: keyed, Delivery.IDEMPOTENT: idempotent}


def _same(verdict: Verdict) -> Mapping[Delivery, Verdict]:
    return _row(verdict, verdict, verdict)


TABLE: Mapping[Event, Mapping[Delivery, Verdict]] = {
    Event.NO_CONNECTION: _same(Verdict(_N, _AGAIN, _NEVER)),
    Event.NOT_ALLOWED: _same(Verdict(_N, _END, _NEVER)),
    Event.ACCEPTED: _same(Verdict(_S, _END, _MAYBE)),
    # The request may have been applied; an idempotent one may be sent again regardless.
    Event.REJECTED: _row(
        at_most_once=Verdict(_A, _END, _MAYBE),
        keyed=Verdict(_A, _END, _MAYBE),
        idempotent=Verdict(_A, _END, _NEVER),
    ),
    Event.UNUSABLE: _same(Verdict(_P, _END, _MAYBE)),
    Event.SLOW_DOWN: _same(Verdict(_A, _AGAIN, _NEVER)),
    Event.REFUSED: _same(Verdict(_A, _END, _NEVER)),
    Event.REFUSED_LISTED: _same(Verdict(_A, _AGAIN, _NEVER)),
    # With an error exit the reply counts as an answer, as on the platform; without one the server's action is unknown.
    Event.SERVER_FAILURE: _row(
        at_most_once=Verdict(_U, _END, _MAYBE, fate_with_exit=_A),
        keyed=Verdict(_U, _END, _MAYBE),
        idempotent=Verdict(_U, _END, _MAYBE),
    ),
    # Under at_most_once, listing a status says that the server did not process the request.
    Event.SERVER_FAILURE_LISTED: _row(
        at_most_once=Verdict(_A, _AGAIN, _NEVER),
        keyed=Verdict(_U, _AGAIN, _MAYBE),
        idempotent=Verdict(_U, _AGAIN, _MAYBE),
    ),
    Event.SERVER_FAILURE_LISTED_UNREAD: _row(
        at_most_once=Verdict(_A, _END, _NEVER),
        keyed=Verdict(_U, _END, _MAYBE),
        idempotent=Verdict(_U, _END, _MAYBE),
    ),
    Event.NO_REPLY: _row(
        at_most_once=Verdict(_U, _END, _MAYBE),
        keyed=Verdict(_U, _AGAIN, _MAYBE),
        idempotent=Verdict(_U, _AGAIN, _MAYBE),
    ),
}

EVENT_OF_FATE: Mapping[Fate | None, Event] = {
    Fate.NOT_SENT: Event.NO_CONNECTION,
    Fate.SUCCEEDED: Event.ACCEPTED,
    Fate.APPLIED: Event.UNUSABLE,
    Fate.UNKNOWN: Event.NO_REPLY,
    None: Event.NO_REPLY,
}
"""The event of an attempt of which only the fate is recorded. ``answered`` is missing: its status decides."""
