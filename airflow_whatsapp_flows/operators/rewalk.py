"""Walks a flow from its start up to the task's step, as every task of its DAG does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from airflow.sdk import Context

from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS, is_server_failure
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.model import Action, Delay
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, Wait, Waited
from airflow_whatsapp_flows.flow.walk.response_content import content_digest
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.flow.walk.walk import State, Visit, Walk, Walking, walk
from airflow_whatsapp_flows.hooks.ledger import task_ledger
from airflow_whatsapp_flows.ledger.epochs import KnownResponse
from airflow_whatsapp_flows.ledger.rows import Subject
from airflow_whatsapp_flows.ledger.task_store import AttemptRow
from airflow_whatsapp_flows.operators.failures import TaskFailureError
from airflow_whatsapp_flows.operators.flow_step import FlowStep
from airflow_whatsapp_flows.operators.large_replies import cut_for_xcom, whole
from airflow_whatsapp_flows.operators.loop_value import result_of_visit
from airflow_whatsapp_flows.operators.run_comparison import RunComparison
from airflow_whatsapp_flows.operators.run_content import epoch_of_run
from airflow_whatsapp_flows.operators.run_input import response_of, run_time
from airflow_whatsapp_flows.operators.task_record import Recipient
from airflow_whatsapp_flows.settings import Settings

LEFT_AT = "left_at"
"""XCom key of the time at which a step ended, if a delay comes next."""
END = "end"
"""XCom key of how the contact ended: ``state``, ``reason``, ``handled_errors``, ``unanswered``.

Pushed by the task of the step in which the walk ends.
"""


class Rewalk:
    """A walk from the start with recorded results, up to the first action without a result, or a given step.

    Args:
        step: where to stop, when it asks for something to be done.
        context: Airflow's, of the running task.
        settings: of the provider: where the ledger is.

    Attributes:
        record: the walk so far.
        recipient: whom it is for.
        attempts: what the ledger held of this contact when the walk began.
        effect: what is to be done next; ``None`` when the walk has ended.
        comparison: finds out whether the run would send the same as the last time.

    Raises:
        ResponseError: the run's input is not a contact response, or its id is known with other content.
        LedgerError: the ledger cannot be read, or other content of the response is about to be sent.
    """

    def __init__(self, step: FlowStep, context: Context, settings: Settings) -> None:
        self.record = Walk(Variables())
        self._step = step
        self._context = context
        self._settings = settings
        response = response_of(context, strict=True, variables=step.flow.variables)
        self._subject = Subject(step.flow.id, response.identity)
        self.attempts, held = self._read_ledger()
        epoch = epoch_of_run(step.flow, response, context, self.attempts, held)
        own = [row for row in self.attempts if row.epoch == epoch]  # with other content it is another response
        walk_started_at = self._find_walk_start(own) or run_time(context)
        steps = StepIdentities.of(step.flow, self._renames)
        identity = step.flow.identity.of(response.contact, response.flow_execution_variables)
        content = content_digest(response)
        self.recipient = Recipient(
            self._subject,
            walk_started_at,
            identity,
            steps,
            _find_lost(own, steps),
            step.flow.only_once,
            epoch,
            content,
        )
        self.comparison = RunComparison(step.flow, response, self.recipient)
        self.record.identities = steps.first_known((row.step, row.step_id) for row in own)
        self._walking: Walking = walk(step.flow, response, now=walk_started_at, record=self.record, epoch=epoch)
        self._pulled: dict[str, Any] = {}
        self.effect: Effect | None = None
        self._advance(None)
        while self.effect is not None and self.effect.step.name not in step.own:
            done = self._find_result(self.effect)
            if done is None:
                break
            self._advance(done)

    def _read_ledger(self) -> tuple[list[AttemptRow], list[KnownResponse]]:
        if not any(isinstance(step, Action) for step in self._step.flow.steps.values()):
            return [], []
        with task_ledger(self._settings).transaction() as transaction:
            return transaction.attempts(self._subject), transaction.known_contacts(self._subject)

    @property
    def _renames(self) -> dict[str, str | None]:
        if not self.attempts and not self._step.flow.only_once:
            return {}
        with task_ledger(self._settings).transaction() as transaction:
            return transaction.renames(self._step.flow.id)

    def _find_walk_start(self, made: Sequence[AttemptRow]) -> dt.datetime | None:
        """Find when the contact was first walked: its ``global`` values are fixed from then on."""
        return dt.datetime.fromtimestamp(made[0].moment, dt.timezone.utc) if made else None

    def _find_result(self, effect: Effect) -> EffectResult | None:
        """Find the result of an effect that another task performed; ``None`` if it did not."""
        if isinstance(effect, Wait):
            return Waited()  # a task starts when those before it are done
        task_id = self._step.task_ids[effect.step.name]
        if task_id not in self._pulled:
            self._pulled[task_id] = self._context["ti"].xcom_pull(task_ids=task_id)
        recorded = self._pulled[task_id]
        if self._step.flow.loop_of(effect.step.name):
            recorded = result_of_visit(recorded, effect.step.name, effect.visit, self.attempts)
        if recorded is None:
            return None
        found = whole(recorded, lambda: task_ledger(self._settings), lambda place: place == self._subject)
        return effect.veil.restore(ActionResult.from_value(found))

    def _advance(self, done: EffectResult | None) -> None:
        try:
            self.effect = next(self._walking) if done is None else self._walking.send(done)
        except StopIteration:
            self.effect = None

    def perform_own(self, do: Callable[[Effect], EffectResult]) -> None:
        """Perform the effects of the task's own steps, if the walk has reached them."""
        while self.effect is not None and self.effect.step.name in self._step.own:
            self._advance(do(self.effect))

    @property
    def own_visits(self) -> list[Visit]:
        """Return the visits of the task's own steps, if the walk has passed them."""
        return [visit for visit in self.record.visits if visit.step in self._step.own]

    @property
    def next_step(self) -> str | None:
        """Name of the step after the task's own; ``None`` if the walk ended before."""
        visits = self.record.visits
        last = max((at for at, visit in enumerate(visits) if visit.step in self._step.own), default=len(visits))
        if last + 1 < len(visits):
            return visits[last + 1].step
        return None if self.effect is None else self.effect.step.name

    @property
    def unknown_outcomes(self) -> str | None:
        """Unknown outcomes of the task's own requests; ``None`` if all are known."""
        reasons = [one.reason for one in self.record.uncertain_requests if one.step in self._step.own]
        return f"outcome unknown: {'; '.join(reasons)}" if reasons else None

    def note_end(self, log: Any) -> None:
        """If the walk ended in the task's own steps, report its end in XCom and in the log.

        Args:
            log: of the task.
        """
        if not self._ended_here:
            return
        end = self.record.outcome()
        end["reason"] = cut_for_xcom(self.record.reason, self._settings.xcom_max_bytes)
        self._context["ti"].xcom_push(key=END, value=end)
        ending = f"{end['state']}: {end['reason']}" if end["reason"] else end["state"]
        (log.info if self.record.state is State.COMPLETED else log.warning)("the walk ends here: %s", ending)

    def fail_if_ended_here(self) -> None:
        """Fail the task if the walk failed in its own steps.

        Raises:
            TaskFailureError: it did; the message says why.
        """
        if not self._ended_here or self.record.failure is None:
            return
        unknown, failure = self.unknown_outcomes, self.record.failure
        if unknown is not None:
            failure = unknown if failure in unknown else f"{unknown}; {failure}".removesuffix("; ")
        raise TaskFailureError(failure or f"{self._step.name}: the flow ends here as failed")

    @property
    def _ended_here(self) -> bool:
        if self.record.state is None:
            return False
        return not self.record.visits or self.record.visits[-1].step in self._step.own

    def note_leaving(self, moment: dt.datetime) -> None:
        """Record when the walk left the task's own steps, if a delay follows: the delay is counted from then.

        Args:
            moment: now.
        """
        if isinstance(self._step.flow.steps.get(self.next_step or ""), Delay):
            self._context["ti"].xcom_push(key=LEFT_AT, value=moment.isoformat())

    def find_arrival(self, moment: dt.datetime) -> dt.datetime:
        """Find when the step of an effect was reached: the same in every try, and after the task was cleared.

        Args:
            moment: now; used when the step before did not say.
        """
        if not self.record.visits:
            return run_time(self._context)
        task_id = self._step.task_ids[self.record.visits[-1].step]
        pushed = self._context["ti"].xcom_pull(task_ids=task_id, key=LEFT_AT)
        return dt.datetime.fromisoformat(pushed) if isinstance(pushed, str) else moment


def _find_lost(rows: Sequence[AttemptRow], steps: StepIdentities) -> str | None:
    """Find recorded steps that may have been applied and that the flow no longer has."""
    return next(
        (row.step_id or row.step for row in rows if _counts(row) and steps.is_lost(row.step, row.step_id)), None
    )


def _counts(row: AttemptRow) -> bool:
    if row.method in SAFE_METHODS or row.fate == Fate.NOT_SENT.value:
        return False
    status = row.status_code or 0
    return row.fate != Fate.ANSWERED.value or status < 300 or is_server_failure(status)
