"""What follows a request in a flow's DAG: an exit, and a failing task if its outcome is unknown."""

from __future__ import annotations

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_whatsapp_flows.operators.branch import Targets, WhatsAppBranchOperator
from airflow_whatsapp_flows.operators.failures import TaskFailureError
from airflow_whatsapp_flows.operators.task_docs import lazy_doc

IN_DOUBT = "in_doubt"
"""XCom key under which a task lists its requests with unknown outcomes."""
IN_DOUBT_SUFFIX = "__in_doubt"


class FlowExitOperator(WhatsAppBranchOperator):
    """The two exits of an action step. After an error with an unknown outcome, it also runs the task that fails."""

    custom_operator_name = "Exit"
    in_doubt: str | None = None
    """Id of that task; ``None`` if the action changes nothing."""
    doc_md = lazy_doc(lambda task: _exit_doc(task))

    def choose_branch(self, context: Context) -> Targets:
        """Task ids of the exit taken, and of the task that fails the run."""
        chosen = super().choose_branch(context)
        if self.in_doubt is None or context["ti"].xcom_pull(task_ids=self.action, key=IN_DOUBT) is None:
            return chosen
        return [*([chosen] if isinstance(chosen, str) else chosen or ()), self.in_doubt]


class FlowInDoubtOperator(BaseOperator):
    """Fails the run if the outcome of a request is unknown although the walk continued.

    Airflow judges a run by its leaf tasks. An action with an unknown outcome continues with its error exit, so it
    cannot fail itself: Airflow would clear only that task ("only failed tasks") and leave the steps after it unchanged.
    """

    ui_color = "#f8d7da"
    ui_fgcolor = "#000000"
    custom_operator_name = "Outcome unknown"
    doc_md = lazy_doc(lambda task: _in_doubt_doc(task))

    action: str
    """Id of the task that sent the request."""
    resends: bool
    """Whether that task sends the request again when it is cleared."""

    def execute(self, context: Context) -> None:
        """Fail.

        Raises:
            TaskFailureError: the outcome is unknown; names the request and what to do.
            AirflowSkipException: the outcome is known.
        """
        reason = context["ti"].xcom_pull(task_ids=self.action, key=IN_DOUBT)
        if reason is None:
            raise AirflowSkipException(f"every outcome of {self.action!r} is known")
        again = f"or clear {self.action!r} with its downstream tasks: it sends the same request again"
        never = f"clearing {self.action!r} does not send the request again"
        advice = "check at the server whether the request arrived, then mark this task as success"
        raise TaskFailureError(f"{reason}; {advice}; {again if self.resends else never}")


def _exit_doc(task: FlowExitOperator) -> str:
    targets = {"success": task.on_success, "error": task.on_error}
    exits = "".join(f"\n- {name} → {f'`{target}`' if target else 'the end'}" for name, target in targets.items())
    return f"Follows the exit that `{task.action}` takes:\n{exits}\n"


def _in_doubt_doc(task: FlowInDoubtOperator) -> str:
    return (
        f"Skipped unless it is unknown whether the server applied the request of `{task.action}`. Then it fails, and "
        "so does the run. Check at the server whether the request arrived; the error says what you can do.\n"
    )
