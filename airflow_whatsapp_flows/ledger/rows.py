"""Rows of the ledger as the code speaks of them.

They are tuples in the order of the columns that they are written to: a replay makes and writes three for every contact.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.identity import Identifier


class ContactState(str, Enum):
    """What became of a contact of a replay; every contact is in exactly one.

    ``pending``: not finished yet. ``rejected``: its row is invalid; nothing was sent. ``skipped``: a guard, or
    already done. ``in_doubt``: some request may have reached the server and its fate is unknown. ``failed``: it ended
    in error. ``completed``: its walk reached an end.
    """

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"
    IN_DOUBT = "in_doubt"
    SKIPPED = "skipped"


class Subject(NamedTuple):
    """Whose action it is: a flow and a response; in a hand-written DAG, the DAG and its run.

    Attributes:
        flow_id: id of the flow, or of the DAG.
        response_id: identity of the response, or run id and map index.
    """

    flow_id: str
    response_id: str


class OnceClaim(NamedTuple):
    """A step that a person gets once.

    Attributes:
        step_id: identity of the step, whatever the contact's own attempts were recorded under.
        marks: of the person, see :attr:`~airflow_whatsapp_flows.flow.identity.Identity.marks`.
        earlier: what else the step is, or was, known by: a claim under one of these holds too.
    """

    step_id: str
    marks: tuple[str, ...]
    earlier: tuple[str, ...] = ()


class Intent(NamedTuple):
    """An attempt about to be made. Committed before the first byte is sent.

    Attributes:
        subject: whose it is.
        step: name of the action.
        visit: which visit of this step, from 1.
        key: idempotency key.
        number: which attempt under this key, from 1.
        digest: of the request.
        method: of the request.
        host: host and port that it goes to.
        moment: when the walk began, epoch seconds.
        begun_at: epoch seconds.
        replay_no: number of the replay; ``None`` in a DAG run.
        round: of the contact; counts up with every retry.
        phone: of the contact, where no replay holds it.
        origin: JSON: dag, run, task, map index and try.
        step_id: what the step is known by in the key; ``None`` where that is its name.
        epoch: of the response's content.
        content: digest of the response's content, where no replay holds it.
        identifiers: of the contact besides its phone, where no replay holds them.
        once: what is claimed with it under ``only_once``. These two stay the last: they are no columns of the table of
            attempts.
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


class AttemptEnd(NamedTuple):
    """What came of an attempt.

    Attributes:
        intent: the attempt.
        fate: what is known of it.
        status_code: of the reply, if one came.
        error_kind: why it was no success.
        result: JSON of the result, or of the part that later steps and people need.
        ended_at: epoch seconds.
    """

    intent: Intent
    fate: Fate
    status_code: int | None
    error_kind: str | None
    result: str | None
    ended_at: float


class ContactEnd(NamedTuple):
    """What became of a contact.

    Attributes:
        contact_id: number of its row.
        state: its state.
        reason: for people; empty when there is nothing to say.
        ended_at: epoch seconds.
        path: JSON list of the steps visited.
        error: JSON of the last error of an action.
        fingerprint: groups equal errors.
        handled_errors: errors that an error exit took care of.
        unanswered: whether it ended at a question without an answer.
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


class NextRound(NamedTuple):
    """A contact that is to be walked once more, in a new round: nothing was done for it in this one.

    Attributes:
        contact_id: number of its row.
    """

    contact_id: int


Entry = Intent | AttemptEnd | ContactEnd | NextRound
