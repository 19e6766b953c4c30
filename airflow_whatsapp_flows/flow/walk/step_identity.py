"""Which step of a flow a recorded attempt is of, whatever the step was called when it was sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.model import Flow


@dataclass(frozen=True, slots=True)
class StepIdentities:
    """The steps of a flow by what attempts were recorded under.

    Attributes:
        by_identity: name of a step by its identity, and by its ``id`` where its platform id is the identity.
        names: of the steps.
        renames: confirmed renames: what a step was recorded under to what it is now; ``None`` where it was removed.
    """

    by_identity: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    renames: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, flow: Flow, renames: Mapping[str, str | None]) -> StepIdentities:
        """Those of a flow.

        Args:
            flow: as it is now.
            renames: of the flow, as they were confirmed.
        """
        by_identity = {identity: step.name for step in flow.steps.values() for identity in step.identities}
        return cls(by_identity, frozenset(flow.steps), renames)

    def owner(self, step: str, step_id: str | None) -> str | None:
        """Name of the step that an attempt is of; ``None`` where the flow has no such step any more.

        Args:
            step: name of the step when it was sent.
            step_id: the identity that it was recorded under; ``None`` where that was the name.
        """
        identity = step_id or step
        seen: set[str] = set()
        found: str | None = identity
        while found is not None and found not in seen:
            seen.add(found)
            if found in self.by_identity:
                return self.by_identity[found]
            if found != identity and found in self.names:
                return found
            if found not in self.renames:
                break
            found = self.renames[found]
            if found is None:
                return None
        # A step that has got an id since, or has lost it, keeps its name.
        return step if step in self.names and identity not in self.renames else None

    def is_lost(self, step: str, step_id: str | None) -> bool:
        """Whether an attempt is of a step that the flow does not have, and of which nobody has said what became."""
        if self.owner(step, step_id) is not None:
            return False
        seen: set[str] = set()
        identity: str | None = step_id or step
        while identity is not None and identity in self.renames and identity not in seen:
            seen.add(identity)
            identity = self.renames[identity]
        return identity is not None

    def first_known(self, sent: Iterable[tuple[str, str | None]]) -> dict[str, str]:
        """What steps were known by when something was first sent for a contact, by their names now.

        Args:
            sent: the step and the identity of each attempt, the first one first.
        """
        found: dict[str, str] = {}
        for step, step_id in sent:
            owner = self.owner(step, step_id)
            if owner is not None:
                found.setdefault(owner, step_id or step)
        return found

    def names_and_ids(self, name: str) -> tuple[str, ...]:
        """Everything that attempts of a step may be recorded under: as the name, or as the identity.

        Args:
            name: of the step now.
        """
        known = {name, *(identity for identity, owner in self.by_identity.items() if owner == name)}
        known.update(old for old in self.renames if self.owner(old, None) == name)
        return tuple(sorted(known))

    @property
    def name_conflicts(self) -> list[tuple[str, str]]:
        """Renames whose old name another step of the flow has now: the old name, and the name of the renamed step."""
        found = []
        for old, new in self.renames.items():
            now = None if new is None else self.by_identity.get(new, new if new in self.names else None)
            if now is not None and self.by_identity.get(old, now) != now:
                found.append((old, now))
        return found
