"""The table of delivery: for each event and each mode, what is known of the attempt and whether it is sent again.

``rule`` finds the event in a reply, and ``decision`` looks up here what follows. ``docs/guarantees.md`` shows this
table; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Delivery(str, Enum):
    """What may happen to one request when its fate is not known.

    ``at_most_once`` never sends again what may have been applied. ``keyed`` sends the same bytes with the
    same ``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header), for servers that know it.
    ``idempotent`` sends again freely, because twice is the same as once (RFC 9110 §9.2.2).
    """

    AT_MOST_ONCE = "at_most_once"
    KEYED = "keyed"
    IDEMPOTENT = "idempotent"


class Fate(str, Enum):
    """What is known of one attempt.

    ``not_sent``: the server did not get it. ``answered``: its reply takes an exit of the flow; whether the server may
    have carried it out, :func:`~airflow_whatsapp_flows.flow.delivery.decision.may_have_been_applied` says.
    ``succeeded``: a complete 2xx, accepted. ``applied``: a complete 2xx that cannot be used. ``unknown``: it may have
    been applied.
    """

    NOT_SENT = "not_sent"
    ANSWERED = "answered"
    SUCCEEDED = "succeeded"
    APPLIED = "applied"
    UNKNOWN = "unknown"


class Event(Enum):
    """What one attempt came to; the value describes it for people."""

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
    """What follows from an event in one mode.

    Attributes:
        fate: what is known of the attempt.
        again: whether the same bytes may be sent again in this round, while attempts are left.
        applied: whether the server may have carried out the request.
        fate_with_exit: what is known of the attempt if the action has an error exit; by default the same.
    """

    fate: Fate
    again: bool
    applied: bool
    fate_with_exit: Fate | None = None


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
    # Something came of the request; where twice is the same as once, that forbids nothing.
    Event.REJECTED: _row(
        at_most_once=Verdict(_A, _END, _MAYBE),
        keyed=Verdict(_A, _END, _MAYBE),
        idempotent=Verdict(_A, _END, _NEVER),
    ),
    Event.UNUSABLE: _same(Verdict(_P, _END, _MAYBE)),
    Event.SLOW_DOWN: _same(Verdict(_A, _AGAIN, _NEVER)),
    Event.REFUSED: _same(Verdict(_A, _END, _NEVER)),
    Event.REFUSED_LISTED: _same(Verdict(_A, _AGAIN, _NEVER)),
    # With an error exit the reply is an answer, as on the platform; without one nobody says what the server did.
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
"""The row of an attempt of which only the fate is recorded. ``answered`` is not here: its status decides."""
