"""The DAG that replays a flow's recorded responses: plan, approve, replay, report."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from airflow.sdk import DAG

from airflow_whatsapp_flows.dag_factory.airflow_block import (
    assets,
    default_args,
    display_name,
    replay_asset,
    retry_args,
    start_date,
    tags,
)
from airflow_whatsapp_flows.dag_factory.replay_params import RETRY, build_replay_params
from airflow_whatsapp_flows.dag_factory.schedule import build_schedule
from airflow_whatsapp_flows.dag_names import REPLAY_SUFFIX, replay_of_run
from airflow_whatsapp_flows.flow.format import ReplayFormat
from airflow_whatsapp_flows.flow.format.replay import ScheduleFormat
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.run_schedule import catches_up
from airflow_whatsapp_flows.operators.replay import WhatsAppReplayOperator
from airflow_whatsapp_flows.operators.replay_options import LoadedFlow
from airflow_whatsapp_flows.operators.replay_steps import (
    ReplayApprovalOperator,
    ReplayPlanOperator,
    ReplayReportOperator,
)

_DOCS = {
    "plan": (
        "Takes the snapshot of the source, and counts the requests, their hosts, and their duration. Sends nothing. "
        "The log and the XCom `plan` show the plan. Clearing it with its downstream tasks sends again what failed.\n"
    ),
    "approve": (
        "Shows the plan and waits for a person if there are more contacts than `replay.approve_above`; passes "
        "otherwise. If the person refuses, nothing is sent.\n"
    ),
    "replay": (
        "Sends the requests of one chunk, and records each in the ledger. A retry resumes where it stopped. Clearing "
        "it sends again what failed and is known not to have been applied.\n"
    ),
    "report": (
        "Fails unless every contact has ended and the counts add up, and as `replay.fail_when` says. The log and the "
        "XCom `errors` show the most frequent errors. Clearing it alone sends nothing.\n"
    ),
}
"""Task id to the documentation of the task."""
_RETRIES = 5
_FIRST_RETRY = dt.timedelta(seconds=30)
_ASKED_AGAIN = dt.timedelta(seconds=5)
_LONGEST_RETRY = dt.timedelta(minutes=15)


def build_replay_dag(flow: Flow) -> DAG:
    """Build the DAG ``<id>__replay`` of a flow.

    A run takes the snapshot of the source, asks for approval above ``approve_above``, sends chunk by chunk, and
    reports. Its replay is named ``<flow id>__<run id>``: a retried or cleared task resumes it.

    Args:
        flow: usually with a ``replay``; without one, the source must be set when the DAG is triggered.

    Raises:
        FlowFileError: its schedule is invalid.
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
        render_template_as_native_obj=False,
        auto_register=False,
    ) as dag:
        _add_tasks(flow, block)
    return dag


def _cron_of(block: ReplayFormat) -> str | None:
    return block.schedule.cron if isinstance(block.schedule, ScheduleFormat) else block.schedule


def _add_tasks(flow: Flow, block: ReplayFormat) -> None:
    replay_id = f"{{{{ params.retry_of or '{replay_of_run(flow.id, '')}' ~ run_id }}}}"
    inlets, outlets = assets(flow)
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
        approve_above=block.approve_above,
        subject=f"Send recorded responses through {flow.id}?",  # Airflow could treat a name as a template
        # Airflow fails a task that is answered within a second or two; it asks again then.
        retries=2,
        retry_delay=_ASKED_AGAIN,
        doc_md=_DOCS["approve"],
    )
    replay = WhatsAppReplayOperator.partial(
        task_id="replay",
        flow=LoadedFlow(flow.id, flow),
        source="{{ params.source or '' }}",
        replay_id=replay_id,
        # A limit is one of all chunks, and for the report to judge. Where any failed contact matters, the task of its
        # chunk is red too: Airflow's "clear failed tasks" then sends again what failed.
        fail_when="any" if block.fail_when == "any" else "never",
        retries=_RETRIES,
        retry_delay=_FIRST_RETRY,
        retry_exponential_backoff=True,
        max_retry_delay=_LONGEST_RETRY,
        inlets=inlets,
        doc_md=_DOCS["replay"],
        **({"pool": flow.airflow.pool} if flow.airflow.pool else {}),
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
    plan >> approve >> replay >> report
