"""The delay of a flow as a task."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, Wait, Waited
from airflow_whatsapp_flows.operators.flow_steps import FlowStepOperator
from airflow_whatsapp_flows.operators.rewalk import Rewalk
from airflow_whatsapp_flows.operators.wait import pause_until, utc_now


class FlowDelayOperator(FlowStepOperator):
    """A delay outside a loop. It always waits: ``when_replayed`` applies only to replays.

    The wait starts when the previous step ended, so a retry or a cleared task doesn't wait longer. A wait of 5 seconds
    or more is deferred and needs no worker.

    Args:
        step: its position in the flow.
        **kwargs: for ``BaseOperator``.
    """

    def go_on(self, context: Context, event: Any = None) -> dict[str, Value]:
        """Resume when the wait is over, like :meth:`execute`."""
        return self.walk_through(context, lambda _walked, _todo: Waited())

    def do(self, walked: Rewalk, effect: Effect) -> EffectResult:
        """Wait.

        Raises:
            TaskDeferred: Airflow resumes the task when the wait is over.
        """
        if isinstance(effect, Wait):
            pause_until(self, effect.ends(walked.find_arrival(utc_now())))
        return Waited()
