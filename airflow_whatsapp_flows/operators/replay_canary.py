"""The canary of a replay's DAG: the contacts that are sent first."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from airflow_whatsapp_flows.operators.replay import WhatsAppReplayOperator


class ReplayCanaryOperator(WhatsAppReplayOperator):
    """Send the first contacts of a replay, as many as an approval chose; the task is skipped if it chose no canary.

    The contacts are recorded in the ledger: a retried or cleared task sends the same ones. The XCom ``canary`` has the
    exits that their requests took, the shape of the replies, and the errors. Failed contacts don't fail the task.

    Args:
        approval_task: task id of the :class:`ReplayApprovalOperator`.
        **kwargs: as for :class:`WhatsAppReplayOperator`.
    """

    is_canary = True

    def __init__(self, *, approval_task: str, **kwargs: Any) -> None:
        super().__init__(approval_task=approval_task, fail_when="never", **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Send the canary, and return the status of the replay.

        Raises:
            AirflowSkipException: there is no canary.
            TaskDeferred: contacts wait for their quiet hours to end.
            AirflowException: contacts of the canary are pending; a retry resumes them.
            AirflowFailException: the replay cannot run, or too many contacts failed.
        """
        from airflow_whatsapp_flows.operators.replay_canary_run import run_canary

        return run_canary(self, context)
