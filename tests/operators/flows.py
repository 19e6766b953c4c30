"""Short flows and sources of responses, for tests of their DAGs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.operators.one_action import new_dag_id


def flow(*steps: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"flow_format": 1, "id": new_dag_id(), "steps": list(steps), **keys}


def write_responses(folder: Path, count: int) -> Path:
    """Write a source of responses, each from another person."""
    file = folder / "responses.jsonl"
    rows = [{"id": f"r-{number}", "contact": {"phone": f"+52555000{number:04}"}} for number in range(count)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def step(kind: str, name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **keys}


def question(name: str, **keys: Any) -> dict[str, Any]:
    return step("question", name, answer_type="FREE_TEXT", **keys)


def message(name: str, **keys: Any) -> dict[str, Any]:
    return step("message", name, **{"body": "hi", **keys})


def action(name: str, **keys: Any) -> dict[str, Any]:
    return step("action", name, **{"connection": "crm", "url": "/c", **keys})


def seconds(name: str, amount: float, **keys: Any) -> dict[str, Any]:
    return step("delay", name, amount=amount, unit="SECOND", **keys)


def polling_flow(wait: float = 0, **keys: Any) -> dict[str, Any]:
    """A flow that starts a job, polls its state until it is done, and sends a message."""
    ready = {"field": "step.Get reply.response.state", "comparison": "exact", "value": "done"}
    return flow(
        action("Start", url="/start", on_success="Get reply"),
        action(
            "Get reply",
            method="GET",
            url="/jobs/{{ step.Start.response.id }}",
            on_success="Is it ready?",
            on_error="Sorry",
            **keys,
        ),
        step(
            "conditional",
            "Is it ready?",
            paths=[{"name": "done", "conditions": [ready], "next": "Say"}],
            otherwise="Wait",
        ),
        seconds("Wait", wait, next="Again"),
        step("go_to", "Again", next="Get reply"),
        message("Say", body="It says {{ step.Get reply.response.text }}", next="Log"),
        message("Sorry", next="Log"),
        action("Log", url="/log", body={"state": "{{ step.Get reply.response.state }}"}),
    )
