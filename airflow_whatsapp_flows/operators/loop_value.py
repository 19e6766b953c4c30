"""The XCom of a loop's task: its visits for people, and its actions' results for later tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.model import TOO_MANY_VISITS, Flow
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.walk.walk import Visit
from airflow_whatsapp_flows.ledger.task_store import AttemptRow
from airflow_whatsapp_flows.operators.large_replies import IN_LEDGER

_LONGEST_TEXT = 300
_SHOWN = 20  # visits at either end of a long loop


def loop_value(
    flow: Flow, loop: Sequence[str], visits: Sequence[Visit], attempts: Sequence[AttemptRow], max_bytes: int
) -> dict[str, Value]:
    """Build the value, limited to the maximum size in XCom.

    Args:
        flow: says which results hold what XCom must not show: those stand in the ledger alone.
        loop: names of the loop's steps.
        visits: of these steps.
        attempts: of the contact, as the ledger holds them now: results that it has too may stand there alone.
        max_bytes: of the value's JSON. Some 400 requests that were sent in one loop are named in 64 KiB; what came of
            every one of them is needed by the tasks behind, so that more of them make a larger value.
    """
    kept = {(row.key, row.number) for row in attempts if row.result is not None}
    actions: dict[str, list[Value]] = {}
    for visit in visits:
        if visit.result is not None:
            result: Value = {**visit.result.as_value()}
            result = _reference(result, kept) if flow.gives_sensitive(visit.step) else result
            actions.setdefault(visit.step, []).append(result)
    value: dict[str, Value] = {
        "loop": list(loop),
        "visits": [_visit_value(visit) for visit in visits],
        "actions": {**actions},
    }
    if _size(value) <= max_bytes:
        return value
    value["actions"] = {step: [_reference(result, kept) for result in results] for step, results in actions.items()}
    if _size(value) <= max_bytes:
        return value
    brief: list[Value] = [_brief(visit) for visit in visits]
    left_out = len(brief) - 2 * _SHOWN
    if left_out > 0:
        brief = [*brief[:_SHOWN], {"left_out": left_out}, *brief[-_SHOWN:]]
    return {**value, "visits": brief}


def exit_of_loop(flow: Flow, last: Visit, next_step: str | None) -> str | None:
    """Return the exit by which a walk left a loop, as ``"<step>: <exit>"``; ``None`` if it ended in the last step.

    Args:
        flow: the flow.
        last: the last visit of a step of the loop.
        next_step: name of the step that came next; ``None`` when the walk ended.
    """
    name, label, target = last.step, last.exit, last.target
    passed: set[str] = set()
    # A step without visits left is passed by, and leaves no visit. Such steps may lead to each other.
    while target is not None and target != next_step and target not in passed:
        passed.add(target)
        name, label, target = target, TOO_MANY_VISITS, flow.steps[target].on_max_visits
    return None if label is None else f"{name}: {label}"


def result_of_visit(value: Any, step: str, visit: int, attempts: Sequence[AttemptRow]) -> Any:
    """Return the result of one visit of an action from a loop's value; ``None`` if there is none.

    Args:
        value: what came out of XCom.
        step: name of the action.
        visit: from 1.
        attempts: of the contact, as the ledger holds them.

    Raises:
        RenderError: the result is no longer in the ledger.
    """
    actions = value.get("actions") if isinstance(value, Mapping) else None
    results = actions.get(step) if isinstance(actions, Mapping) else None
    if not isinstance(results, list) or len(results) < visit:
        return None
    result = results[visit - 1]
    reference = result.get(IN_LEDGER) if isinstance(result, Mapping) and "method" not in result else None
    if not isinstance(reference, Mapping):
        return result
    wanted = (reference.get("key"), reference.get("number"))
    kept = next((row.result for row in attempts if (row.key, row.number) == wanted), None)
    if kept is None:
        raise RenderError(f"the reply of visit {visit} of {step!r} is no longer in the ledger")
    return {**json.loads(kept), "outcome": result["outcome"], "error": result["error"]}


def _reference(result: Any, kept: set[tuple[str, int]]) -> Value:
    if IN_LEDGER in result:
        return result  # type: ignore[no-any-return]
    key, number = result["idempotency_key"], result["attempts"]
    if (key, number) not in kept:
        return result  # type: ignore[no-any-return]
    # The attempts before it may have made its error another than the ledger tells of this attempt alone.
    return {"outcome": result["outcome"], "error": result["error"], IN_LEDGER: {"key": key, "number": number}}


def _visit_value(visit: Visit) -> Value:
    shown = _brief(visit)
    if visit.reason is not None:
        shown["reason"] = visit.reason[:_LONGEST_TEXT]
    if visit.text is not None:
        shown["text"] = visit.text[:_LONGEST_TEXT]
    if visit.details is not None and _size(dict(visit.details)) <= _LONGEST_TEXT:
        shown["details"] = dict(visit.details)
    return {**shown}


def _brief(visit: Visit) -> dict[str, Value]:
    brief: dict[str, Value] = {
        "step": visit.step,
        "visit": visit.number,
        "exit": visit.exit,
        "next": visit.target,
    }
    if visit.result is not None:
        brief["status_code"] = visit.result.status_code
    return brief


def _size(value: Any) -> int:
    return len(json.dumps(value))
