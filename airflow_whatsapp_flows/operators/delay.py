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
    """A delay outside of a loop. It always waits: ``when_replayed`` speaks of replays.

    It waits from the moment when the step before it was left: another try, or a cleared task, waits no longer. From
    5 seconds on it holds no worker meanwhile.

    Args:
        step: where it stands.
        **kwargs: for ``BaseOperator``.
    """

    def go_on(self, context: Context, event: Any = None) -> dict[str, Value]:
        """Go on when the wait is over, as :meth:`execute` does.

        Args:
            context: Airflow's, of the running task.
            event: of the trigger; it says nothing that is needed.
        """
        return self.walk_through(context, lambda _walked, _todo: Waited())

    def do(self, walked: Rewalk, effect: Effect) -> EffectResult:
        """Wait.

        Raises:
            TaskDeferred: Airflow starts the task again when the wait is over.
        """
        if isinstance(effect, Wait):
            pause_until(self, effect.ends(walked.find_arrival(utc_now())))
        return Waited()
