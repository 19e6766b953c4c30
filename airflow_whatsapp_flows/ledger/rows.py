"""Rows of the ledger as data types.

Their fields are in column order. They are structs, for speed: a replay writes three of them for each contact.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from msgspec import Struct

from airflow_whatsapp_flows.flow.delivery.decision import Attempt
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.identity import Identifier
from airflow_whatsapp_flows.flow.walk.deliver import Intend


class ContactState(str, Enum):
    """State of a contact in a replay; every contact is in exactly one. A status lists them in this order.

    ``pending``: not finished yet. ``completed``: its walk reached an end. ``failed``: it ended in an error.
    ``rejected``: its row is invalid; nothing was sent. ``in_doubt``: a request of unknown fate may have reached the
    server. ``skipped``: by a guard, or already done.
    """

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"
    IN_DOUBT = "in_doubt"
    SKIPPED = "skipped"


NOTHING_SENT = (ContactState.REJECTED.value, ContactState.SKIPPED.value)
"""States of contacts whose reason says why nothing was sent."""


class Subject(NamedTuple):
    """What an action belongs to: a flow and a response; in a handwritten DAG, the DAG and its run.

    Attributes:
        flow_id: id of the flow, or of the DAG.
        response_id: identity of the response, or run id and map index.
    """

    flow_id: str
    response_id: str


class OnceClaim(NamedTuple):
    """A person's claim on a step that is sent to each person only once.

    Attributes:
        step_id: current identity of the step, regardless of what the contact's attempts were recorded under.
        marks: identifiers of the person, see :attr:`~airflow_whatsapp_flows.flow.identity.Identity.marks`.
        earlier: other current and former identities of the step: a claim under one of these also counts.
    """

    step_id: str
    marks: tuple[str, ...]
    earlier: tuple[str, ...] = ()


class Intent(Struct, frozen=True, eq=False):
    """An attempt about to be made. Committed before the first byte is sent.

    Attributes:
        subject: what it belongs to.
        step: name of the action.
        visit: number of the visit of this step, from 1.
        key: idempotency key.
        number: number of the attempt under this key, from 1.
        digest: digest of the request.
        method: HTTP method of the request.
        host: host and port of the server.
        moment: when the walk started, epoch seconds.
        begun_at: when the attempt started, epoch seconds.
        replay_no: number of the replay; ``None`` in a DAG run.
        round: the contact's round; incremented with each retry.
        phone: the contact's phone, if no replay stores it.
        origin: JSON: dag, run, task, map index and try.
        step_id: identity of the step in the key; ``None`` if that is its name.
        epoch: epoch of the response's content.
        content: digest of the response's content, if no replay stores it.
        identifiers: the contact's identifiers besides the phone, if no replay stores them.
        once: what it claims under ``only_once``. These two must stay last: they are not columns of the attempts table.
    """

    subject: Subject
    step: str
    visit: int
    key: str
    number: int
    digest: str
    method: str
    host: str
    moment: float
    begun_at: float
    replay_no: int | None = None
    round: int = 1
    phone: str | None = None
    origin: str | None = None
    step_id: str | None = None
    epoch: int = 1
    content: str | None = None
    identifiers: tuple[Identifier, ...] = ()
    once: OnceClaim | None = None

    @classmethod
    def of(cls, intend: Intend, subject: Subject, host: str, **more: Any) -> Intent:
        """Return the row of an attempt about to be made.

        Args:
            intend: the step of the delivery.
            subject: what it belongs to.
            host: host and port of the server.
            **more: the other fields, which the sender knows.
        """
        effect = intend.effect
        return cls(
            subject=subject,
            step=effect.step.name,
            visit=effect.visit,
            key=effect.idempotency_key,
            number=intend.number,
            digest=intend.digest,
            method=intend.request.method,
            host=host,
            step_id=effect.step_id,
            **more,
        )


class AttemptEnd(Struct, frozen=True, eq=False):
    """The outcome of an attempt.

    Attributes:
        intent: the attempt.
        fate: what is known about it.
        status_code: of the reply, if there was one.
        error_kind: why it did not succeed.
        result: the result as JSON, or the part that later steps and people need.
        ended_at: when it ended, epoch seconds.
    """

    intent: Intent
    fate: Fate
    status_code: int | None
    error_kind: str | None
    result: str | None
    ended_at: float

    @classmethod
    def of(cls, intent: Intent, attempt: Attempt, result: str | None, ended_at: float) -> AttemptEnd:
        """Return the outcome of an intended attempt; ``result`` as the ledger stores it."""
        known = attempt.result
        kind = known.error.kind.value if known is not None and known.error is not None else None
        fate = Fate.UNKNOWN if attempt.fate is None else attempt.fate
        return cls(intent, fate, None if known is None else known.status_code, kind, result, ended_at)


class ContactEnd(Struct, frozen=True, eq=False):
    """The outcome of a contact.

    Attributes:
        contact_id: number of its row.
        state: the final state.
        reason: for people; may be empty.
        ended_at: when it ended, epoch seconds.
        path: JSON list of the steps visited.
        error: JSON of the last error of an action.
        fingerprint: groups equal errors.
        handled_errors: number of errors handled by error exits.
        unanswered: whether it ended at an unanswered question.
    """

    contact_id: int
    state: ContactState
    reason: str
    ended_at: float
    path: str | None = None
    error: str | None = None
    fingerprint: str | None = None
    handled_errors: int = 0
    unanswered: bool = False


class NextRound(Struct, frozen=True, eq=False):
    """A contact to be walked again in a new round, because nothing was done for it in this one.

    Attributes:
        contact_id: number of its row.
    """

    contact_id: int


Entry = Intent | AttemptEnd | ContactEnd | NextRound
