"""The delay of a flow as a task."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.operators.flow_steps import FlowStepOperator


class FlowDelayOperator(FlowStepOperator):
    """A delay outside a loop. It always waits: ``when_replayed`` applies only to replays.

    The wait starts when the previous step ended, so a retry or a cleared task doesn't wait longer. A wait of 5 seconds
    or more is deferred and needs no worker.
    """

    def execute(self, context: Context) -> dict[str, Value]:
        """Wait, then choose the next task.

        Raises:
            TaskDeferred: Airflow resumes the task when the wait is over.
        """
        return self._run(context, rested=False)

    def go_on(self, context: Context, event: Any = None) -> dict[str, Value]:
        """Resume when the wait is over, like :meth:`execute`."""
        return self._run(context, rested=True)

    def _run(self, context: Context, *, rested: bool) -> dict[str, Value]:
        from airflow_whatsapp_flows.operators.flow_step_run import run_delay

        return run_delay(self, context, rested=rested)
