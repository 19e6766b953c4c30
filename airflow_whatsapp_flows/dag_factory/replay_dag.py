"""The DAG that replays a flow's recorded responses: plan, approve, canary, replay, report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from airflow_whatsapp_flows.dag_factory.airflow_block import (
    assets,
    default_args,
    display_name,
    replay_asset,
    results_asset,
    retry_args,
    start_date,
    tags,
)
from airflow_whatsapp_flows.dag_factory.approval import (
    approval_args,
    approve_above,
    asks,
    highest_rate,
    proposed_canary,
)
from airflow_whatsapp_flows.dag_factory.replay_params import RETRY, build_replay_params
from airflow_whatsapp_flows.dag_factory.schedule import build_schedule
from airflow_whatsapp_flows.dag_names import REPLAY_SUFFIX, replay_of_run
from airflow_whatsapp_flows.flow.durations import parse_duration
from airflow_whatsapp_flows.flow.format import ReplayFormat
from airflow_whatsapp_flows.flow.format.replay import ScheduleFormat
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.run_schedule import catches_up
from airflow_whatsapp_flows.operators.deadline import report_missed_deadline
from airflow_whatsapp_flows.operators.replay import WhatsAppReplayOperator
from airflow_whatsapp_flows.operators.replay_approval import ReplayApprovalOperator, ReplayCanaryApprovalOperator
from airflow_whatsapp_flows.operators.replay_canary import ReplayCanaryOperator
from airflow_whatsapp_flows.operators.replay_options import LoadedFlow
from airflow_whatsapp_flows.operators.replay_steps import (
    ReplayPlanOperator,
    ReplayReportOperator,
    ReplayResultsOperator,
)

_DOCS = {
    "plan": (
        "Takes the snapshot of the source, and counts the requests, their hosts, and their duration. Sends nothing. "
        "The log and the XCom `plan` show the plan. Clearing it with its downstream tasks sends again what failed.\n"
    ),
    "approve": (
        "Shows the plan and waits for a person if `replay.approve` says so, or there are more contacts than "
        "`replay.approve_above`; passes otherwise. If the person refuses, nothing is sent.\n"
    ),
    "canary": (
        "Sends as many contacts as the approval chose to send first; skipped if it chose no canary. Clearing it sends "
        "again what failed and is known not to have been applied.\n"
    ),
    "approve_canary": (
        "Shows what came of the canary (exits, the shape of replies, errors), and waits for a person, who releases the "
        "other contacts or stops. Skipped without a canary.\n"
    ),
    "replay": (
        "Sends the requests of one chunk, and records each in the ledger. A retry resumes where it stopped. Clearing "
        "it sends again what failed and is known not to have been applied.\n"
    ),
    "report": (
        "Fails unless every contact has ended and the counts add up, and as `replay.fail_when` says. The log and the "
        "XCom `errors` show the most frequent errors. Clearing it alone sends nothing.\n"
    ),
    "results": (
        "Writes the results of the contacts to `replay.results_to`, also if some of them failed. Clearing it writes "
        "them again, as they are in the ledger by then, and sends nothing.\n"
    ),
}
"""Task id to the documentation of the task."""
_RETRY_ARGS: dict[str, Any] = {
    "retries": 5,
    "retry_delay": dt.timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": dt.timedelta(minutes=15),
}


def build_replay_dag(flow: Flow, *, notifiers: Sequence[Any] = (), on_deadline: Any = None) -> DAG:
    """Build the DAG ``<id>__replay`` of a flow.

    A run takes the snapshot of the source, asks for approval if the flow says so, sends the canary that was chosen and
    asks again, sends chunk by chunk, and reports. Its replay is named ``<flow id>__<run id>``: a retried or cleared
    task resumes it.

    Args:
        flow: usually with a ``replay``; without one, the source must be set when the DAG is triggered.
        notifiers: Airflow notifiers that tell people that an approval waits for an answer.
        on_deadline: Airflow's ``AsyncCallback`` or ``SyncCallback`` for a run that misses ``replay.deadline``. Default:
            a line in the triggerer's log.

    Raises:
        FlowFileError: its schedule is invalid, or a package that it needs is not installed.
    """
    block = flow.replay or ReplayFormat()
    with DAG(
        dag_id=f"{flow.id}{REPLAY_SUFFIX}",
        dag_display_name=display_name(f"{flow.id}{REPLAY_SUFFIX}", flow.name),
        schedule=build_schedule(block.schedule, flow.id, flow.timezone),
        start_date=start_date(flow) or dt.datetime(2020, 1, 1, tzinfo=ZoneInfo(flow.timezone)),
        catchup=catches_up(flow.airflow.catchup, _cron_of(block), block.source, block.query),
        max_active_runs=1,
        params=build_replay_params(flow, block),
        tags=tags(flow, "replay"),
        default_args=default_args(flow),
        doc_md=f"Sends recorded responses through the WhatsApp flow `{flow.id}`.",
        deadline=_deadline(flow, block, on_deadline),
        render_template_as_native_obj=False,
        auto_register=False,
    ) as dag:
        _add_tasks(flow, block, notifiers)
    return dag


def _cron_of(block: ReplayFormat) -> str | None:
    return block.schedule.cron if isinstance(block.schedule, ScheduleFormat) else block.schedule


def _add_tasks(flow: Flow, block: ReplayFormat, notifiers: Sequence[Any]) -> None:
    replay_id = f"{{{{ params.retry_of or '{replay_of_run(flow.id, '')}' ~ run_id }}}}"
    _, outlets = assets(flow)
    plan = ReplayPlanOperator(
        task_id="plan",
        flow=LoadedFlow(flow.id, flow),
        source="{{ params.source or '' }}",
        replay_id=replay_id,
        note="{{ params.note or '' }}",
        only_plan="{{ params.dry_run }}",
        retry=RETRY,
        doc_md=_DOCS["plan"],
        **retry_args(flow),
    )
    approve = ReplayApprovalOperator(
        task_id="approve",
        plan_task="plan",
        approve_above=approve_above(block),
        asks_for_choice=asks(block),
        canary=proposed_canary(block),
        highest_rate=highest_rate(block),
        subject=f"Send recorded responses through {flow.id}?",  # Airflow could treat a name as a template
        doc_md=_DOCS["approve"],
        **approval_args(flow, block, notifiers),
    )
    # A limit is one of all chunks, and for the report to judge. Where any failed contact matters, the task of its
    # chunk is red too: Airflow's "clear failed tasks" then sends again what failed.
    replay = WhatsAppReplayOperator.partial(
        task_id="replay",
        fail_when="any" if block.fail_when == "any" else "never",
        doc_md=_DOCS["replay"],
        **({"approval_task": "approve", "trigger_rule": "none_failed"} if asks(block) else {}),
        **_sending_args(flow, replay_id),
    ).expand(chunks=plan.output)
    report = ReplayReportOperator(
        task_id="report",
        replay_id=replay_id,
        plan_task="plan",
        fail_when=block.fail_when,
        max_failures=block.max_failures,
        max_handled_errors=block.max_handled_errors,
        outlets=[replay_asset(flow.id), *(asset for asset in outlets if asset != replay_asset(flow.id))],
        trigger_rule="all_done",
        doc_md=_DOCS["report"],
        **retry_args(flow),
    )
    plan >> approve
    if asks(block):
        canary, decide = _add_canary(flow, block, replay_id, notifiers)
        approve >> canary >> decide >> replay
    else:
        approve >> replay
    replay >> report
    if block.results_to is not None:
        replay >> _results_task(flow, replay_id)


def _results_task(flow: Flow, replay_id: str) -> ReplayResultsOperator:
    return ReplayResultsOperator(
        task_id="results",
        flow=LoadedFlow(flow.id, flow),
        replay_id=replay_id,
        plan_task="plan",
        outlets=[results_asset(flow.id)],
        trigger_rule="all_done",
        doc_md=_DOCS["results"],
        **_RETRY_ARGS,
    )


def _deadline(flow: Flow, block: ReplayFormat, callback: Any) -> DeadlineAlert | None:
    if block.deadline is None:
        return None
    told = {"flow_id": flow.id, "allowed": block.deadline}
    return DeadlineAlert(
        # Airflow computes a deadline when a run is queued, long before the plan of the run is known.
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=parse_duration(block.deadline),
        callback=callback or AsyncCallback(report_missed_deadline, kwargs=told),
    )


def _add_canary(flow: Flow, block: ReplayFormat, replay_id: str, notifiers: Sequence[Any]) -> tuple[BaseOperator, ...]:
    """Add the tasks of the canary and of the decision about it."""
    canary = ReplayCanaryOperator(
        task_id="canary", approval_task="approve", doc_md=_DOCS["canary"], **_sending_args(flow, replay_id)
    )
    decide = ReplayCanaryApprovalOperator(
        task_id="approve_canary",
        plan_task="plan",
        canary_task="canary",
        subject=f"Send the other responses through {flow.id} too?",
        doc_md=_DOCS["approve_canary"],
        **approval_args(flow, block, notifiers),
    )
    return canary, decide


def _sending_args(flow: Flow, replay_id: str) -> dict[str, Any]:
    """Return the arguments of the tasks that send."""
    inlets, _ = assets(flow)
    return {
        "flow": LoadedFlow(flow.id, flow),
        "source": "{{ params.source or '' }}",
        "replay_id": replay_id,
        "results_to": False,  # the task `results` writes them
        **_RETRY_ARGS,
        "inlets": inlets,
        **({"pool": flow.airflow.pool} if flow.airflow.pool else {}),
    }
