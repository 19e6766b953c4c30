"""What every step has."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_whatsapp_flows.flow.template.language import Template
from airflow_whatsapp_flows.flow.template.references import Reference

Text = Template | str | None
"""A text in a flow: a template, or plain text if it contains no placeholder."""


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
        id: what it is known by whatever its name; ``None`` where that is the name.
        platform_id: of the step on the platform; ``None`` where it has none.
        max_visits: how often one contact may visit it.
        on_max_visits: name of the step that a visit too many goes to; without one it fails the walk.
    """

    name: str
    max_visits: int
    on_max_visits: str | None = None
    id: str | None = None
    platform_id: str | None = None

    @property
    def identities(self) -> tuple[str, ...]:
        """What attempts of the step may be recorded under; the first is its identity, on which its keys depend."""
        own = self.id or self.name
        if not self.platform_id:
            return (own,)
        platform = f"platform_id:{self.platform_id}"
        return (platform, self.id) if self.id else (platform,)

    @property
    def identity(self) -> str:
        """What survives a rename: its platform id, else its id, else its name."""
        return self.identities[0]

    @property
    def fields(self) -> tuple[Reference, ...]:
        """Variables that it reads bare, outside of its texts."""
        return ()
