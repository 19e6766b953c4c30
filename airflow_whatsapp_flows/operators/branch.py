"""The two exits of an action as a branch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import BaseBranchOperator, Context
from airflow.sdk.exceptions import AirflowFailException

Targets = str | Iterable[str] | None


class WhatsAppBranchOperator(BaseBranchOperator):
    """Go on by an action's success exit or its error exit.

    Put it behind a :class:`~airflow_whatsapp_flows.operators.action.WhatsAppActionOperator`::

        create >> WhatsAppBranchOperator(
            task_id="created", action="create_contact", on_success="thanks", on_error="tell_sales"
        ) >> [thanks, tell_sales]

    A task where both ways meet again needs ``trigger_rule="none_failed_min_one_success"``.

    Args:
        action: task id of the action; its XCom says how it ended.
        on_success: task id, or ids, to go on with after a 2xx reply; ``None`` skips everything behind.
        on_error: the same after any other end.
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
        """Task ids of the exit that the action left by.

        Raises:
            AirflowFailException: the action left no result.
        """
        index = context["ti"].map_index
        own = index if index is not None and index >= 0 else None
        result = context["ti"].xcom_pull(task_ids=self.action, map_indexes=own)
        if not isinstance(result, Mapping) or result.get("outcome") not in ("success", "error"):
            raise AirflowFailException(f"the task {self.action!r} left no result of an action in XCom{self._hint(own)}")
        chosen = self.on_success if result["outcome"] == "success" else self.on_error
        return [] if chosen is None else chosen

    def _hint(self, own: int | None) -> str:
        dag = self.get_dag()
        action: Any = dag.task_dict.get(self.action) if dag else None
        if own is None and getattr(action, "is_mapped", False):
            return "; it is mapped, and a branch chooses by one result: put both into a task group, and map that"
        return ""


def has_branch(task: Any) -> bool:
    """Whether a branch operator of the DAG takes a task's error; true when the task is in no DAG."""
    if not task.has_dag():
        return True
    return any(
        issubclass(getattr(other, "operator_class", type(other)), WhatsAppBranchOperator)
        and _action_of(other) == task.task_id
        for other in task.dag.tasks
    )


def _action_of(task: Any) -> str | None:
    return getattr(task, "action", None) or getattr(task, "partial_kwargs", {}).get("action")
