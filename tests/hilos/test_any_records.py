"""Any records give a flow or a plain error."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import FlowFileError, SourceError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.hilos import ImportedFlow, read_step_records
from tests.hilos.samples import CRM_KEY, OPENAI_KEY, crm_records, gpt_records, request, step, uuid

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_ODD = _JSON | st.sampled_from(
    [
        "{{",
        "}}",
        "{{step.}}",
        "%step.x%",
        "\ud800",
        "\x00",
        "https://",
        "https://[",
        "{{a}}.x",
        -1,
        1e400,
        10**30,
        [[]],
        {"": ""},
    ]
)


def _faults(flow: dict[str, object]) -> list[str]:
    try:
        load_flow(json.dumps(flow))
    except FlowFileError as error:
        return [fault.message for fault in error.faults]
    return []


def _read_and_check(records: object, syntax: Any = "hilos") -> None:
    try:
        imported = read_step_records(records, flow_id="a_flow", syntax=syntax)
    except SourceError:
        return
    _check(imported)


def _check(imported: ImportedFlow) -> None:
    told = [note.message for note in imported.report if note.kind == "fault"]
    assert set(_faults(imported.flow)) == set(told)
    assert imported.loads == (not told)
    json.dumps(imported.flow, allow_nan=False).encode("utf-8")


def _places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _mutate(records: Any, path: tuple[Any, ...], value: object, *, remove: bool) -> None:
    for key in path[:-1]:
        records = records[key]
    if remove:
        del records[path[-1]]
    else:
        records[path[-1]] = value


@pytest.mark.parametrize(("records", "syntax"), [(gpt_records(), "hilos"), (crm_records(), "activecampaign")])
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_a_mutated_record_gives_a_flow_or_a_plain_error(records: Any, syntax: Any, data: st.DataObject) -> None:
    """Up to four keys are removed or values replaced."""
    mutated = copy.deepcopy(records)
    for _ in range(data.draw(st.integers(1, 4))):
        places = list(_places(mutated))
        if places:
            place = data.draw(st.sampled_from(places))
            _mutate(mutated, place, data.draw(_ODD), remove=data.draw(st.booleans()))
    _read_and_check(mutated, syntax)


@given(_JSON | st.lists(_JSON))
@example([[[[[[[[{"name": "deep"}]]]]]]]])
@example({"results": "x", "step": None, "steps": [None]})
def test_any_input_gives_a_flow_or_a_plain_error(records: object) -> None:
    _read_and_check(records)


_NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=130)
_WAY = st.none() | st.integers(0, 9).map(uuid)


@st.composite
def _steps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Steps of every type, as the platform would record them, with any targets."""
    made: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        name = draw(st.sampled_from(["Ask name", "ask_name", "Ask  name", " Ask name ", "A" * 120]) | _NAMES)
        exits = {"next_step_default": draw(_WAY), "next_step_alternate": draw(_WAY)}
        texts = st.sampled_from(["Hi", "Hi {{contact.first_name}}", "{{ contact.phone }} 100%", "%contact.x%"])
        fields: dict[str, Any] = draw(
            st.sampled_from(
                [
                    {"step_type": "MESSAGE", "body": draw(texts)},
                    {"step_type": "QUESTION", "body": draw(texts), "answer_type": "ANY"},
                    {
                        "step_type": "MENU",
                        "answer_options": ["A", "B"],
                        "next_steps_for_options": [draw(_WAY), draw(_WAY)],
                    },
                    {"step_type": "TAG", "contact_tags": ["x"]},
                    {"step_type": "DELAY", "delay_type": "AMOUNT"},
                    {"step_type": "GO_TO"},
                    {"step_type": "TRIGGER_FLOW", "next_flow": uuid(500)},
                    {"step_type": "ASSIGN", "assign_to_users": [1]},
                    {"step_type": "CONTACT_UPDATE", "contact_email": draw(texts)},
                    {"step_type": "TEMPLATE", "whatsapp_template": uuid(501), "next_action": "CONTINUE"},
                    {
                        "step_type": "CONDITIONAL",
                        "paths": [{"conditions": [{"id": 1, "field": "contact.x", "comparison": "gt", "value": "1"}]}],
                        "next_steps_for_options": [draw(_WAY)],
                    },
                    {
                        "step_type": "ACTION",
                        **request("POST", "https://crm.example/v1", headers={"Authorization": "Bearer abcdef-123456"}),
                        "action_request_body": draw(
                            st.sampled_from(['{"a": 1}', "", None, "text", '{"a": {{contact.x}}}'])
                        ),
                    },
                ]
            )
        )
        made.append(step(number, name, **{**exits, **fields}))
    return made


_OF_THE_GRAPH = ("no step leads here", "so the walk cannot get out")


@given(_steps())
@settings(max_examples=300, deadline=None)
def test_steps_of_a_valid_record_load_except_for_graph_faults(steps: list[dict[str, Any]]) -> None:
    """Any names and targets: only unreachable steps and endless loops are faults."""
    imported = read_step_records(steps, flow_id="a_flow")

    _check(imported)
    told = [note.message for note in imported.report if note.kind == "fault"]
    assert [message for message in told if not any(part in message for part in _OF_THE_GRAPH)] == []


_SECRET = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789-_"), min_size=12, max_size=40).map(
    lambda text: f"9{text}7"
)
_NAMES_OF_SECRETS = st.sampled_from(["Authorization", "X-Api-Key", "token", "client_secret", "password", "api_key"])
_PLACES = {
    "header": lambda name, secret: request("GET", "https://a.example/", headers={name: f"Token {secret}"}),
    "userinfo": lambda name, secret: request("GET", f"https://{name}:{secret}@a.example/x"),
    "query": lambda name, secret: request("GET", f"https://a.example/x?a=1&{name}={secret}"),
    "params": lambda name, secret: request("GET", "https://a.example/", params={name: secret}),
    "json": lambda name, secret: request("POST", "https://a.example/", body=json.dumps({"a": {name: [secret]}})),
    "broken json": lambda name, secret: request(
        "POST", "https://a.example/", body=f'{{"{name}" : "{secret}", "b": {{{{x'
    ),
    "json template": lambda name, secret: request(
        "POST", "https://a.example/", body=f'{{"b": {{{{contact.x}}}}, "{name}": "{secret}"}}'
    ),
    "form": lambda name, secret: request(
        "POST",
        "https://a.example/",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=f"a={{{{contact.x}}}}&{name}={secret}",
    ),
    "xml": lambda name, secret: request("POST", "https://a.example/", body=f"<r><{name}>{secret}</{name}></r>"),
    "attribute": lambda name, secret: request("POST", "https://a.example/", body=f'<r {name}="{secret}"/>'),
    "yaml": lambda name, secret: request(
        "POST", "https://a.example/", headers={"Content-Type": "application/yaml"}, body=f'a: 1\n{name}: "{secret}"\n'
    ),
}


@pytest.mark.parametrize("place", _PLACES)
@given(name=_NAMES_OF_SECRETS, secret=_SECRET)
@settings(max_examples=25, deadline=None)
def test_no_secret_leaves_the_import(place: str, name: str, secret: str) -> None:
    """Neither at its place nor where the same secret is repeated."""
    again = step(2, "Log", "MESSAGE", body=f"called with {secret}")
    call = step(1, "Call", "ACTION", **_PLACES[place](name, secret), next_step_default=uuid(2))

    imported = read_step_records([call, again], flow_id="a_flow")

    assert secret not in json.dumps(imported.flow) + repr(imported.report)
    assert any(note.kind == "secret" for note in imported.report)


@pytest.mark.parametrize("content_type", ["application/json", "application/xml", "application/yaml", "text/plain"])
@pytest.mark.parametrize("text", ["a", '\\"', '"', "a=", "{{", "{{a}}", "<a>b", "a: ", "[", "- ", "sk-", "{{step.Call"])
def test_a_long_body_of_any_kind_is_read_in_a_moment(text: str, content_type: str) -> None:
    body = text * (60_000 // len(text))
    call = step(1, "Call", "ACTION", **request("POST", "https://a.example/", headers={"Content-Type": content_type}))
    begun = time.process_time()

    read_step_records([{**call, "action_request_body": body}], flow_id="a_flow")

    assert time.process_time() - begun < 5


def test_the_keys_of_the_samples_do_not_leave_the_import() -> None:
    imported = [
        read_step_records(gpt_records(), flow_id="gpt"),
        read_step_records(crm_records(), flow_id="crm", syntax="activecampaign"),
    ]

    shown = repr([(one.flow, one.report) for one in imported])
    assert [secret for secret in (OPENAI_KEY, CRM_KEY, "s3cr3t-value-1") if secret in shown] == []
