"""The ledger's record of one action of a task, and what the current try adds to it."""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_whatsapp_flows.flow.identity import Identity, IdentityRule
from airflow_whatsapp_flows.flow.walk.deliver import Intend
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.once import once_of
from airflow_whatsapp_flows.ledger.records import ResponseRecord
from airflow_whatsapp_flows.ledger.rows import Intent, Subject
from airflow_whatsapp_flows.ledger.task_store import AttemptRow
from airflow_whatsapp_flows.operators.run_input import map_index_of, run_id_of
from airflow_whatsapp_flows.transport.origin import origin_of

_SAME_TASK = ("dag_id", "run_id", "task_id", "map_index")


@dataclass(frozen=True, slots=True)
class Recipient:
    """The contact that a task sends for.

    Attributes:
        subject: whose the action is, in the ledger.
        walk_started_at: when the walk began; what ``global.Date`` and its kin are made of.
        identity: of the contact, so that what was sent for it can be found.
        steps: the steps of the flow, by what they are known by; ``None`` where the task stands in no flow.
        lost: what was sent for the contact under the name of a step that the flow no longer has: nobody has said
            what became of that step.
        only_once: whether the flow says that a person gets each step once.
        epoch: of the response's content.
        content: digest of the response's content; ``None`` for a task that stands in no flow.
    """

    subject: Subject
    walk_started_at: dt.datetime
    identity: Identity = field(default_factory=Identity)
    steps: StepIdentities | None = None
    lost: str | None = None
    only_once: bool = False
    epoch: int = 1
    content: str | None = None

    @classmethod
    def of_task(
        cls, context: Mapping[str, Any], dag_id: str, walk_started_at: dt.datetime, contact: Mapping[str, Any]
    ) -> Recipient:
        """Return the contact of a task outside a flow: identified by its DAG run and map index.

        Args:
            context: Airflow's, of the running task.
            dag_id: of the DAG.
            walk_started_at: of the run.
            contact: its fields.
        """
        # Outside of a run nothing can be the same try again.
        run_id, index = run_id_of(context) or f"no run: {uuid.uuid4()}", map_index_of(context)
        subject = Subject(dag_id, run_id if index < 0 else f"{run_id}[{index}]")
        return cls(subject, walk_started_at, IdentityRule().of(contact))


@dataclass(frozen=True, slots=True)
class TaskTry:
    """One try of a task, as Airflow counts them.

    Attributes:
        origin: where it stands: ``dag_id``, ``run_id``, ``task_id``, ``map_index`` and ``try_number``.
        round: 1, and another number after each time that the task was cleared.
        is_last: whether Airflow makes no other try by itself.
    """

    origin: Mapping[str, Any]
    round: int
    is_last: bool

    @classmethod
    def of(cls, context: Mapping[str, Any], task: Any) -> TaskTry:
        """Return the current try.

        Args:
            context: Airflow's, of the running task.
            task: the operator.
        """
        ti = context.get("ti")
        try_number = int(getattr(ti, "try_number", 1) or 1)
        max_tries = int(getattr(ti, "max_tries", 0) or 0)
        origin = {
            "dag_id": getattr(ti, "dag_id", None) or task.dag_id,
            "run_id": run_id_of(context),
            "task_id": task.task_id,
            "map_index": map_index_of(context),
            "try_number": try_number,
        }
        # A cleared task counts its tries on, and gets as many new ones as it has retries.
        before = max(0, max_tries - int(task.retries or 0))
        return cls(origin, 1 + before, ti is None or try_number > max_tries)

    @property
    def clear(self) -> str | None:
        """Name of the clear that this try follows; ``None`` if the task was not cleared."""
        # Another number of retries, in a new version of the DAG, changes the round without a clear.
        if self.round == 1 or self.origin["try_number"] < self.round:
            return None
        place = "/".join(str(self.origin[name]) for name in _SAME_TASK)
        return f"{place}#{self.round}"

    def made(self, row: AttemptRow) -> bool:
        """Whether an attempt was made by this task since it was last cleared."""
        if row.replay_no is not None or row.round != self.round or not row.origin:
            return False
        origin = json.loads(row.origin)
        return all(origin.get(name) == self.origin[name] for name in _SAME_TASK)

    def record(
        self, rows: Iterable[AttemptRow], steps: StepIdentities | None = None, digest: str | None = None
    ) -> ResponseRecord:
        """Return the attempts, as the delivery rules need them.

        Args:
            rows: of the ledger.
            steps: the steps of the flow, by what they are known by.
            digest: of the request as it is now. Between two tries of a task its connection may be mended, and what
                its author wrote is rendered anew: an attempt with other bytes is then none of this round.
        """
        record = ResponseRecord()
        for row in rows:
            record.note(row, steps, current=digest in (None, row.digest) and self.made(row))
        return record

    def intent(self, step: Intend, recipient: Recipient) -> Intent:
        """Return the attempt to be made.

        Args:
            step: what is to be sent.
            recipient: whom it is for.
        """
        names = recipient.steps.names_and_ids(step.effect.step.name) if recipient.steps else ()
        return Intent.of(
            step,
            recipient.subject,
            _host(step.request.url),
            moment=recipient.walk_started_at.timestamp(),
            begun_at=time.time(),
            round=self.round,
            phone=recipient.identity.phone_for_storage,
            origin=json.dumps(self.origin),
            epoch=recipient.epoch,
            content=recipient.content,
            identifiers=recipient.identity.others,
            once=once_of(step.effect.step, recipient.identity.marks if recipient.only_once else (), names),
        )


def _host(url: str) -> str:
    try:
        return origin_of(url).authority
    except ValueError:
        return ""  # what the transport refuses goes nowhere
