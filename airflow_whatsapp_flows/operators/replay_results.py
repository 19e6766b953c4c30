"""Writes the results of a replay to the user's table or file, when a task runs.

A process that only parses DAG files doesn't import this.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_whatsapp_flows.errors import ReplayError, SourceError
from airflow_whatsapp_flows.flow.format.replay import ResultsTableFormat
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.hooks.action import provider_settings
from airflow_whatsapp_flows.hooks.ledger import airflow_ledger
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.results import contact_results
from airflow_whatsapp_flows.operators.failures import TaskFailureError, TaskRetryError, task_errors
from airflow_whatsapp_flows.operators.links import link_replay
from airflow_whatsapp_flows.operators.replay_retry import retry_of_run
from airflow_whatsapp_flows.operators.replay_setup import task_flow
from airflow_whatsapp_flows.operators.replay_steps import PLAN
from airflow_whatsapp_flows.operators.results_target import target_from_airflow
from airflow_whatsapp_flows.operators.run_input import run_id_of, run_terms
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.export import Target, Written, WrittenBy
from airflow_whatsapp_flows.replay.sources.parameters import fill_location
from airflow_whatsapp_flows.replay.status import get_replay

if TYPE_CHECKING:
    from airflow_whatsapp_flows.operators.replay import WhatsAppReplayOperator
    from airflow_whatsapp_flows.operators.replay_steps import ReplayResultsOperator


def results_target(flow: Flow, context: Mapping[str, Any], given: object = None) -> Target | None:
    """Return where the results of a run are written; ``None`` if nowhere. Nothing is opened.

    Args:
        flow: its ``replay.results_to`` applies if none is given.
        context: Airflow's, of the running task.
        given: ``results_to`` of the task, rendered; ``False`` for nowhere.

    Raises:
        ReplayError: it is invalid, or its connection does not exist.
        SourceError: the run lacks a term that the flow's file is named after.
    """
    if given is False:
        return None
    if given:
        return target_from_airflow(given)  # type: ignore[arg-type]  # a template may render to anything
    own = flow.replay.results_to if flow.replay else None
    if own is None:
        return None
    if isinstance(own, ResultsTableFormat):
        return target_from_airflow({"connection": own.connection, "table": own.table})
    return target_from_airflow(fill_location(own, run_terms(context), ZoneInfo(flow.timezone)))


@dataclass(frozen=True, slots=True)
class ResultsWriter:
    """Writes the results of a task's contacts.

    Attributes:
        target: where.
        context: Airflow's, of the running task.
        chunks: of the contacts; ``None`` for all.
    """

    target: Target
    context: Context
    chunks: Any = None

    def write(self, ledger: Ledger, replay: Replay) -> Written:
        """Write them; of a run that retries contacts, only of those.

        Raises:
            ReplayError: they cannot be written.
            LedgerError: they cannot be read.
        """
        ti, terms, retry = self.context["ti"], run_terms(self.context), retry_of_run(replay, self.context)
        written_by = WrittenBy(
            dag_id=ti.dag_id,
            run_id=run_id_of(self.context),
            task_id=ti.task_id,
            data_interval_start=terms.data_interval_start,
            data_interval_end=terms.data_interval_end,
        )
        retry_no = retry.number or None if retry else None
        with closing(contact_results(ledger, replay, chunks=self.chunks, retry_no=retry_no)) as found:
            return self.target.write(replay, found, written_by)


def write_after_run(
    task: WhatsAppReplayOperator, writer: ResultsWriter, replay_id: str, problem: Exception | None
) -> None:
    """Write the results of a task's contacts after it has sent them.

    Args:
        task: that sent them.
        writer: of its results.
        replay_id: name of its replay.
        problem: why the task fails, if it does.

    Raises:
        TaskRetryError: they cannot be written, and a retry does only that.
        TaskFailureError: the same, and the task fails for good anyway.
    """
    try:
        with airflow_ledger(provider_settings()) as ledger:
            written = writer.write(ledger, get_replay(ledger, replay_id))
    except (ReplayError, SourceError) as error:
        if problem is not None:
            raise type(problem)(f"{problem}; its results could not be written either: {error}") from None
        raise TaskRetryError(
            f"{task.task_id}: everything was sent and is in the ledger, but its results could not be written: {error}; "
            "retry or clear this task to write them; it sends nothing again"
        ) from None
    task.written_to = writer.target
    task.log.info("%s", _written_text(written, writer.target))


def write_results(task: ReplayResultsOperator, context: Context) -> dict[str, Any]:
    """Write the results of a replay, and push and return how many rows there are.

    Raises:
        AirflowSkipException: nothing was planned, or it was a dry run.
        TaskRetryError: they cannot be written.
    """
    planned_value = context["ti"].xcom_pull(task_ids=task.plan_task, key=PLAN)
    if planned_value is None or planned_value["replay_id"] is None:
        raise AirflowSkipException("there is no replay: nothing was planned, or it was a dry run")
    with task_errors(task.task_id), airflow_ledger(provider_settings()) as ledger:
        replay = get_replay(ledger, task.replay_id)
        link_replay(task, context, replay.id)
        target = results_target(task_flow(task), context)
        if target is None:
            raise TaskFailureError(f"{task.task_id}: the flow has no `replay.results_to`")
        try:
            written = ResultsWriter(target, context).write(ledger, replay)
        except (ReplayError, SourceError) as error:
            raise TaskRetryError(
                f"{task.task_id}: {error}; nothing of the replay is lost: retry or clear this task to write its results"
            ) from None
    task.written_to = target
    task.log.info("%s", _written_text(written, target))
    value: dict[str, Any] = {
        "replay_id": replay.id,
        "to": target.name,
        "rows": written.actions,
        "contacts": written.contacts,
    }
    for outlet in task.outlets:
        context["outlet_events"][outlet].extra.update(value)
    return value


def _written_text(written: Written, target: Target) -> str:
    return f"{plural(written.actions, 'row')} of {plural(written.contacts, 'contact')} written to {target.name}"
