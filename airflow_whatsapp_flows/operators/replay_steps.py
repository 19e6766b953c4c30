"""The tasks of a replay's DAG that plan, report, and write the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context

from airflow_whatsapp_flows.operators.links import REPLAY_LINK
from airflow_whatsapp_flows.operators.replay import ReplayTask
from airflow_whatsapp_flows.operators.replay_options import FlowSource

if TYPE_CHECKING:
    from airflow_whatsapp_flows.replay.export import Target

PLAN = "plan"
"""XCom key of the plan."""


class ReplayPlanOperator(ReplayTask):
    """Take the snapshot of a replay's responses, and plan their requests. Nothing is sent.

    The task's XCom is a list of lists of chunks, one list for each task to be mapped: no more of them than Airflow
    allows. Under the key ``plan`` it leaves the counts.

    Args:
        only_plan: whether to stop after that, and leave nothing in the ledger (templated text or a bool).
        retry: JSON object that selects contacts of an earlier replay to send again (templated): ``retry_of``, its id;
            ``states``, ``steps``, ``fingerprint`` and ``responses``. Then no source is read, and ``replay_id`` must be
            that id. Without ``retry_of``, the replay is one of its own.
        **kwargs: as for :class:`ReplayTask`.
    """

    template_fields: Sequence[str] = (*ReplayTask.template_fields, "only_plan", "retry")

    def __init__(self, *, only_plan: bool | str = False, retry: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.only_plan = only_plan
        self.retry = retry

    def execute(self, context: Context) -> list[list[int]]:
        """Plan the replay.

        Raises:
            TaskFailureError: the replay cannot be started.
        """
        from airflow_whatsapp_flows.operators.replay_steps_run import plan_replay

        return plan_replay(self, context)

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> Any:
        """The source as an input; called by Airflow's OpenLineage provider."""
        from airflow_whatsapp_flows.operators.lineage import replay_lineage

        return replay_lineage(self, sends=False)


class ReplayReportOperator(BaseOperator):
    """Report a replay's result, and fail unless all contacts have a final state and add up to the responses.

    The task's XCom is the replay's status, and under ``errors`` the most frequent errors with their counts and what the
    server said to one contact. Outlets get the status as the extra of their events.

    Args:
        replay_id: name of the replay (templated).
        plan_task: task id of the :class:`ReplayPlanOperator`.
        fail_when: ``any`` contact failed, in doubt or rejected; more than the ``budget``; ``never``.
        max_failures: the budget.
        max_handled_errors: contacts that may take an error exit; by default not all of them.
        **kwargs: for ``BaseOperator``.
    """

    template_fields: Sequence[str] = ("replay_id",)
    operator_extra_links = (REPLAY_LINK,)
    linked_replay: str | None = None
    """Name of the replay, once it is known."""
    ui_color = "#34b7f1"
    ui_fgcolor = "#000000"

    def __init__(
        self,
        *,
        replay_id: str,
        plan_task: str,
        fail_when: str = "any",
        max_failures: int | None = None,
        max_handled_errors: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.replay_id = replay_id
        self.plan_task = plan_task
        self.fail_when = fail_when
        self.max_failures = max_failures
        self.max_handled_errors = max_handled_errors

    def execute(self, context: Context) -> dict[str, Any]:
        """Report the result.

        Raises:
            AirflowSkipException: it was a dry run.
            TaskFailureError: contacts are pending, do not add up, or failed where that matters.
        """
        from airflow_whatsapp_flows.operators.replay_steps_run import report_replay

        return report_replay(self, context)


class ReplayResultsOperator(BaseOperator):
    """Write the results of a replay to the flow's ``replay.results_to``, whatever its contacts came to.

    The task's XCom is ``replay_id``, ``to``, ``rows``, and ``contacts``; outlets get it as the extra of their events.
    Trying it again, or clearing it, writes the rows of the same contacts again, and sends nothing.

    Args:
        flow: the flow, its plain data, or the path of its file.
        replay_id: name of the replay (templated).
        plan_task: task id of the :class:`ReplayPlanOperator`.
        **kwargs: for ``BaseOperator``.
    """

    template_fields: Sequence[str] = ("replay_id",)
    operator_extra_links = (REPLAY_LINK,)
    linked_replay: str | None = None
    """Name of the replay, once it is known."""
    written_to: Target | None = None
    """The table or file to which it has written."""
    ui_color = "#34b7f1"
    ui_fgcolor = "#000000"

    def __init__(self, *, flow: FlowSource, replay_id: str, plan_task: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flow = flow
        self.replay_id = replay_id
        self.plan_task = plan_task

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the results.

        Raises:
            AirflowSkipException: there is no replay, as after a dry run.
            TaskRetryError: they cannot be written.
        """
        from airflow_whatsapp_flows.operators.replay_results import write_results

        return write_results(self, context)

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> Any:
        """The results as outputs; called by Airflow's OpenLineage provider."""
        from airflow_whatsapp_flows.operators.lineage import results_lineage

        return results_lineage(self)
