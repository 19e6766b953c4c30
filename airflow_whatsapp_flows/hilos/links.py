"""The targets of a step's exits: ids and positions in the records become step names."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_whatsapp_flows.hilos.record import Record
from airflow_whatsapp_flows.hilos.record_versions import Plain, step_id

_NOBODY = "no recorded contact took this exit, so its target is unknown; it ends the flow here"


class Links:
    """Finds steps by id and by position.

    Attributes:
        led_to: names of the steps that at least one exit leads to.
    """

    def __init__(self, steps: Sequence[tuple[Plain, str]]) -> None:
        self.led_to: set[str] = set()
        self._by_id: dict[str, str] = {}
        self._by_index: dict[int, str | None] = {}
        for step, name in steps:
            if isinstance(step.get("id"), (str, int)):
                self._by_id.setdefault(step_id(step["id"]), name)
            index = step.get("ordering_idx")
            if isinstance(index, int) and not isinstance(index, bool):
                self._by_index[index] = None if index in self._by_index else name

    def target(self, record: Record, field: str) -> str | None:
        """Return the step that an exit leads to; ``None`` if the flow ends there."""
        value, index = record.take(field), record.take(f"{field}_idx")
        return self._resolve(record, field, value, index)

    def targets(self, record: Record, count: int) -> list[str | None]:
        """Return the steps that the options or paths of a step lead to, by position.

        Args:
            count: number of options or paths; the list has at least as many items.
        """
        field = "next_steps_for_options"
        ids, indexes = _list(record.take(field)), _list(record.take(f"{field}_idx"))
        if ids and len(ids) != count:
            ids = self._spread(record, ids, indexes, count)
        size = max(count, len(ids), len(indexes) if not ids else 0)
        ids, indexes = _pad(ids, size), _pad(indexes if not any(ids) else [], size)
        return [self._resolve(record, f"{field}[{at}]", ids[at], indexes[at]) for at in range(size)]

    def _spread(self, record: Record, ids: list[object], indexes: list[object], count: int) -> list[object]:
        """Assign ids to options; the list of positions shows which options have none."""
        if len(indexes) == count and sum(index is not None for index in indexes) == len(ids):
            left = iter(ids)
            message = "the targets of the options were taken from next_steps_for_options_idx"
            record.note("inferred", "next_steps_for_options", message)
            return [None if index is None else next(left) for index in indexes]
        message = f"{count} options or paths but {len(ids)} targets: they were matched in order; check them"
        record.note("inferred", "next_steps_for_options", message)
        return ids

    def _resolve(self, record: Record, field: str, value: object, index: object) -> str | None:
        name: str | None = None
        if isinstance(value, dict):
            value = value.get("id")
        if isinstance(value, (str, int)) and not isinstance(value, bool) and step_id(value):
            name = self._by_id.get(step_id(value))
            if name is None:
                record.note("dangling", field, f"no record contains the step {step_id(value)[:40]}: {_NOBODY}")
        elif isinstance(index, int) and not isinstance(index, bool):
            name = self._by_index.get(index)
            if name is None:
                record.note("dangling", field, f"no record contains a unique step at position {index}: {_NOBODY}")
            else:
                record.note("inferred", field, f"found by its position {index}: {name!r}")
        elif value:
            record.note("lost", field, "it is not the id of a step")
        if name is not None:
            self.led_to.add(name)
        return name


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _pad(items: list[object], size: int) -> list[object]:
    return [*items, *[None] * (size - len(items))]
