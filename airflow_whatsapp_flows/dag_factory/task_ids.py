"""The task ids of a flow."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from airflow_whatsapp_flows.flow.model import Flow

_LONGEST = 200
"""Characters, of the 250 that Airflow allows: a number and the name of the branch task are appended."""


def task_id_for(step: str, position: int = 1) -> str:
    """The task id of a step: its name in lowercase, without accents, and anything else as ``_``.

    Args:
        step: its name.
        position: in the flow, from 1: the id of a name without a Latin letter or a digit is ``step_<position>``.
    """
    plain = unicodedata.normalize("NFKD", step).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "_", plain)[:_LONGEST].strip("_") or f"step_{position}"


def task_ids_of(flow: Flow) -> dict[str, str]:
    """The task id of every step; the steps of a loop share one task, named after the first one."""
    return number_task_ids(flow.steps, flow.loops)


def number_task_ids(names: Iterable[str], loops: Iterable[Sequence[str]]) -> dict[str, str]:
    """Step name to task id from :func:`task_id_for`, numbered where two would be equal.

    Args:
        names: of the steps, in the flow's order.
        loops: names of the steps of each loop, in the flow's order.
    """
    first = {name: loop[0] for loop in loops for name in loop}
    task_ids: dict[str, str] = {}
    taken: set[str] = set()
    for position, name in enumerate(names, start=1):
        if name in first and first[name] in task_ids:
            task_ids[name] = task_ids[first[name]]
            continue
        base = task_id_for(name, position)
        task_id, copy = base, 2
        while task_id in taken:
            task_id, copy = f"{base}_{copy}", copy + 1
        taken.add(task_id)
        task_ids[name] = task_id
    return task_ids
