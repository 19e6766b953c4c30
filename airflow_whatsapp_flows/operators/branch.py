"""The two exits of an action as a branch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import BaseBranchOperator, Context

from airflow_whatsapp_flows.operators.failures import TaskFailureError

Targets = str | Iterable[str] | None


class WhatsAppBranchOperator(BaseBranchOperator):
    """Follow the success exit or the error exit of an action.

    Place it after a :class:`~airflow_whatsapp_flows.operators.action.WhatsAppActionOperator`::

        create >> WhatsAppBranchOperator(
            task_id="created", action="create_contact", on_success="thanks", on_error="tell_sales"
        ) >> [thanks, tell_sales]

    A task where both branches join needs ``trigger_rule="none_failed_min_one_success"``.

    Args:
        action: task id of the action; its XCom contains the outcome.
        on_success: task id or ids to run after a success; ``None`` skips all downstream tasks.
        on_error: task id or ids to run after an error; ``None`` skips all downstream tasks.
        **kwargs: for ``BaseOperator``.
    """

    ui_color = "#dcf8c6"
    ui_fgcolor = "#000000"

    def __init__(self, *, action: str, on_success: Targets = None, on_error: Targets = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.action = action
        self.on_success = on_success
        self.on_error = on_error

    def choose_branch(self, context: Context) -> Targets:
        """Task ids of the exit that the action took.

        Raises:
            AirflowFailException: the action has no result.
        """
        index = context["ti"].map_index
        own = index if index is not None and index >= 0 else None
        result = context["ti"].xcom_pull(task_ids=self.action, map_indexes=own)
        if not isinstance(result, Mapping) or result.get("outcome") not in ("success", "error"):
            raise TaskFailureError(f"the task {self.action!r} has no action result in XCom{self._hint(own)}")
        chosen = self.on_success if result["outcome"] == "success" else self.on_error
        return [] if chosen is None else chosen

    def _hint(self, own: int | None) -> str:
        dag = self.get_dag()
        action: Any = dag.task_dict.get(self.action) if dag else None
        if own is None and getattr(action, "is_mapped", False):
            return "; it is mapped, but a branch needs one result: put both tasks into a task group, and map the group"
        return ""


def has_branch(task: Any) -> bool:
    """Whether a branch operator of the DAG handles a task's error; true if the task is not in a DAG."""
    if not task.has_dag():
        return True
    return any(
        issubclass(getattr(other, "operator_class", type(other)), WhatsAppBranchOperator)
        and _action_of(other) == task.task_id
        for other in task.dag.tasks
    )


def _action_of(task: Any) -> str | None:
    return getattr(task, "action", None) or getattr(task, "partial_kwargs", {}).get("action")
