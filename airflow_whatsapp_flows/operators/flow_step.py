"""Where a task stands in its flow: all that parsing a DAG needs of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.model import Flow


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowStep:
    """Position of a task in its flow.

    Attributes:
        flow: the whole flow.
        name: of the step, or of the first one of the loop, that the task is for.
        task_ids: step name to task id; the steps of a loop have one task.
    """

    flow: Flow = field(repr=False)
    name: str
    task_ids: Mapping[str, str] = field(repr=False)

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the steps that the task walks."""
        return self.flow.loop_of(self.name) or (self.name,)
