"""What every step has."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_whatsapp_flows.flow.template.language import Template
from airflow_whatsapp_flows.flow.template.references import Reference

Text = Template | str | None
"""A text of a flow: a template, or a plain text when it holds no placeholder."""


@dataclass(frozen=True, slots=True)
class Exit:
    """One way out of a step.

    Attributes:
        label: what the way is called in a graph: an option, a path's name, ``success``, ``error``, ``next``, …
        target: name of the next step; ``None`` ends the walk.
    """

    label: str
    target: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBase:
    """What every step has.

    Attributes:
        name: what other steps call it by.
        max_visits: how often one contact may visit it.
        on_max_visits: name of the step that a visit too many goes to; without one it fails the walk.
    """

    name: str
    max_visits: int
    on_max_visits: str | None = None

    @property
    def fields(self) -> tuple[Reference, ...]:
        """Variables that it reads bare, outside of its texts."""
        return ()
