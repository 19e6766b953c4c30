"""The JSON Schema of flow files rejects malformed flows and describes every key."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from airflow_whatsapp_flows.flow.format import STEP_FORMATS, FlowFormat
from airflow_whatsapp_flows.flow.format.json_schema import flow_schema, schema_text
from airflow_whatsapp_flows.flow.format.pydantic_models import pydantic_model
from tests.conftest import REPOSITORY
from tests.roads.roads import all_cases

SHIPPED = REPOSITORY / "airflow_whatsapp_flows" / "flow-format-1.schema.json"
SCHEMA = json.loads(SHIPPED.read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FILES = [
    *sorted((REPOSITORY / "dags" / "flows").glob("*.json")),
    *sorted((REPOSITORY / "airflow_whatsapp_flows" / "starting" / "dags" / "flows").glob("*.json")),
]

EVERYTHING: dict[str, Any] = {
    "$schema": "../flow-format-1.schema.json",
    "flow_format": 1,
    "id": "everything",
    "name": "Everything",
    "version": 3,
    "syntax": "activecampaign",
    "start": "Ask",
    "timezone": "America/Mexico_City",
    "default_country": "MX",
    "identifiers": ["contact.meta.crm_id"],
    "missing": "null",
    "max_visits": 7,
    "sensitive": ["contact.email"],
    "not_secret": ["X-Site-Key"],
    "imported": {"from": "hilos", "flow_version": None},
    "variables": {"campaign": {"type": "text", "default": None, "required": False, "description": "which"}},
    "effects": {"connection": None, "messages": False, "contact_updates": False, "tags": False, "flows": False},
    "replay": {
        "schedule": {"cron": "@daily", "assets": {"any": ["s3://a/b"]}}, "source": "a.jsonl", "query": None,
        "send": "all", "on_changed": "update",
        "rate": {"crm.example": 1.5}, "concurrency": 3, "chunk_size": 4, "approve_above": 5, "max_failures": 6,
        "max_handled_errors": "12.5%", "stop_when_refused": False, "fail_when": "budget",
        "max_age": 3600, "only_once": True, "opt_out": ["+525512345678"],
        "quiet_hours": {"start": "21:00", "end": "08:00"},
        "effects": False, "send_when": "changed",
        "approve": {
            "users": ["ana"], "emails": ["ops@example.com"], "smtp_connection": "smtp_default", "timeout": "4h",
            "on_timeout": "reject", "canary": 50,
        },
        "deadline": "PT1H30M",
        "cursor": "updated_at", "cursor_overlap": 600.5,
        "results_to": {"connection": "warehouse", "table": "crm.sync_log"}, "empty": "ok",
    },
    "airflow": {
        "start_date": "2026-01-01", "catchup": False, "tags": ["a"], "owner": "b", "pool": "c", "doc_md": "d",
        "max_active_runs": 2, "retries": 1, "retry_delay": 1.5, "inlets": ["x://e"], "outlets": ["x://f"],
    },
    "tests": [
        {
            "name": "one", "response": {"step": {"Ask": "41"}}, "now": "2026-01-01T12:00Z",
            "replies": [{"step": "Call", "status_code": 201, "headers": {"A": "b"}, "response": [1], "error": None}],
            "expect": {
                "path": ["Ask"], "state": "completed", "variables": {"step.Ask": 41},
                "requests": [{"step": "Call", "method": "PUT", "url": "/", "headers": {}, "body": None}],
            },
        }
    ],
    "steps": [
        {
            "name": "Ask", "type": "question", "id": "ask", "platform_id": "p", "max_visits": 2,
            "on_max_visits": "Stop", "body": "%contact.first_name%?", "message_type": "IMAGE", "file_url": "https://a.example/b.png",
            "whatsapp_template": "t", "whatsapp_template_variables": {"1": {"a": [None]}},
            "wait": {"amount": 1.5, "unit": "HOUR"}, "on_no_answer": "Stop", "max_answer_attempts": 2,
            "on_answer_failed": "Stop", "answer_type": "NUMBER", "answer_options": ["a"],
            "options_from_variable": {"list": "step.Call.response", "value": "id", "title": None},
            "answer_range": {"min": 1, "max": "9"}, "answer_allow_decimals": False,
            "answer_phone_default_country": "MX", "next": "Choose",
        },
        {"name": "Choose", "type": "menu", "options": {"a": "Say", "b": None}},
        {"name": "Say", "type": "message", "body": None, "next": "Invite"},
        {"name": "Invite", "type": "template", "options": {"Yes": "Decide"}, "next": None},
        {
            "name": "Decide", "type": "conditional", "otherwise": "Call",
            "paths": [{"name": None, "conditions": [{"field": "step.Ask", "comparison": "gte", "value": 3}],
                       "next": "Call"}],
        },
        {
            "name": "Call", "type": "action", "connection": "crm", "method": "PUT", "url": "/v1",
            "headers": {"A": 1, "B": None, "C": True}, "query_params": [["a", 1]], "body_type": "json",
            "body": {"a": 1}, "timeout": 5, "delivery": "keyed", "idempotency_header": "K", "key_lifetime": 60.5,
            "retry": {"attempts": 2, "wait": 1, "max_wait": 2.5, "backoff": 2, "statuses": [500],
                      "slow_down_when": "status_code == 400"},
            "success_when": "response.ok", "record_url": "{{ response.url }}", "on_success": "Wait", "on_error": None,
        },
        {
            "name": "Wait", "type": "delay", "amount": 5, "unit": "SECOND", "when_replayed": "skip", "next": "Change",
            "time_windows": [{"weekday": 0, "start_at": "09:00", "end_at": None}],
        },
        {"name": "Until", "type": "delay", "until": "2026-11-22"},
        {
            "name": "Change", "type": "contact_update", "first_name": "a", "last_name": None, "email": 1,
            "external_url": True, "meta": {"plan": "pro"}, "next": "Mark",
        },
        {"name": "Mark", "type": "tag", "contact_tags": ["a"], "conversation_tags": ["b"], "append_tags": False},
        {"name": "Hand over", "type": "assignation", "assign_to_users": [1], "assign_to_teams": [2]},
        {"name": "Back", "type": "go_to", "next": "Ask"},
        {"name": "Other", "type": "trigger_flow", "next_flow": "other"},
        {"name": "Stop", "type": "end", "state": "failed", "reason": "why"},
    ],
}  # fmt: skip


def is_refused_for_its_shape(flow: object) -> bool:
    try:
        pydantic_model(FlowFormat).model_validate_json(json.dumps(flow))
    except ValidationError:
        return True
    return False


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*at, key))


def mutate(flow: Any, place: tuple[Any, ...], change: str, instead: Any) -> Any:
    """The flow with one change at a path, or unchanged where that is impossible."""
    flow = copy.deepcopy(flow)
    if not place:
        return instead
    holder = flow
    for key in place[:-1]:
        holder = holder[key]
    if change == "replace":
        holder[place[-1]] = instead
    elif change == "remove":
        del holder[place[-1]]
    elif isinstance(holder, dict):  # rename
        holder[f"{place[-1]}_"] = holder.pop(place[-1])
    return flow


VALUES = st.sampled_from(
    [None, True, False, 0, 1, -1, 7, 501, 0.5, 1e9, "", "a", "A b", "x" * 101, "x" * 256, "MX", "09:00", "25:00",
     "POST", "question", "action", [], [1], ["a"], [["a", 1]], [["a"]], {}, {"a": 1}, {"a": "b"}, {"amount": 1}]
)  # fmt: skip


OTHERS: tuple[Any, ...] = (None, {"?": 1})


def test_the_shipped_file_is_the_schema_of_the_classes() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == schema_text(), (
        "the classes of flow.format have changed: run `python -m airflow_whatsapp_flows.flow.format.json_schema "
        "> airflow_whatsapp_flows/flow-format-1.schema.json`"
    )


def test_is_a_json_schema_2020_12_with_its_own_id() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"] == "urn:airflow-whatsapp-flows:flow-format-1"


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in FILES])
def test_every_example_is_valid(path: Path) -> None:
    VALIDATOR.validate(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in all_cases()])
def test_every_case_is_valid(case: Any) -> None:
    VALIDATOR.validate(json.loads(case.source))


def test_a_flow_with_every_key_is_valid_for_both() -> None:
    assert not is_refused_for_its_shape(EVERYTHING)
    VALIDATOR.validate(EVERYTHING)
    written = {key for place in places(EVERYTHING) for key in place[-1:] if isinstance(key, str)}
    assert keys_of_the_schema() <= written


def keys_of_the_schema() -> set[str]:
    return {key for _, found in objects() for key in found["properties"]}


def objects() -> list[tuple[str, dict[str, Any]]]:
    """Every object that the schema describes, by its name."""
    definitions = SCHEMA["$defs"].items()
    return [("flow", SCHEMA), *((name, found) for name, found in definitions if "properties" in found)]


@given(place=st.sampled_from(list(places(EVERYTHING))), change=st.sampled_from(["replace", "remove", "rename"]),
       instead=VALUES)  # fmt: skip
def test_the_schema_refuses_exactly_the_malformed_flows(place: tuple[Any, ...], change: str, instead: Any) -> None:
    flow = mutate(EVERYTHING, place, change, instead)

    assert is_refused_for_its_shape(flow) is not VALIDATOR.is_valid(flow)


@pytest.mark.parametrize("place", [pytest.param(place, id=".".join(map(str, place))) for place in places(EVERYTHING)])
def test_schema_and_classes_apply_the_same_rule_everywhere(place: tuple[Any, ...]) -> None:
    changed = [mutate(EVERYTHING, place, change, None) for change in ("remove", "rename")]
    wrong = [mutate(EVERYTHING, place, "replace", other) for other in OTHERS]

    for flow in changed + wrong:
        assert is_refused_for_its_shape(flow) is not VALIDATOR.is_valid(flow), flow


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_visits", 7.0),  # in JSON Schema 7.0 is a whole number
        ("id", "everything\n"),  # "$" of an ECMA pattern, as Python reads it
    ],
)
def test_lists_what_only_the_package_refuses(key: str, value: object) -> None:
    flow = {**EVERYTHING, key: value}

    assert is_refused_for_its_shape(flow)
    assert VALIDATOR.is_valid(flow)


@pytest.mark.parametrize(("name", "described"), objects())
def test_every_key_has_a_description_and_others_are_forbidden(name: str, described: dict[str, Any]) -> None:
    assert described["description"]
    assert [key for key, found in described["properties"].items() if not found.get("description")] == []
    if name != "Step":  # which leaves that to the type that it has
        assert described["additionalProperties"] is False


def test_a_fault_of_a_step_is_reported_at_its_own_place() -> None:
    flow = copy.deepcopy(EVERYTHING)
    flow["steps"][5]["on_sucess"] = "Wait"

    (error,) = VALIDATOR.iter_errors(flow)

    assert list(error.absolute_path) == ["steps", 5]
    assert "'on_sucess' was unexpected" in error.message


def test_every_step_type_is_offered_with_a_description() -> None:
    offered = {
        choice["const"]: choice["description"] for choice in SCHEMA["$defs"]["Step"]["properties"]["type"]["oneOf"]
    }

    assert list(offered) == list(STEP_FORMATS)
    assert all(offered.values())


def test_defaults_are_those_of_the_classes() -> None:
    told = flow_schema()["$defs"]["Action"]["properties"]

    assert told["method"]["default"] == "POST"
    assert told["timeout"]["default"] == 30
    assert told["headers"]["default"] == {}
    assert "default" not in told["on_error"]  # null is no more than being absent
