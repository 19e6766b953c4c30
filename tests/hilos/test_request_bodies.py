"""The body of a recorded request: its type and its form in the flow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.request.plan import RequestPlan, RequestText, parse_request
from airflow_whatsapp_flows.flow.secrets import names_credential
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from tests.hilos.samples import CRM_KEY, full_text, notes, read, request, step, steps_of

_URL = "https://a.example/"


def _body(text: Any, content_type: str | None = None, **more: Any) -> Any:
    headers = {"Content-Type": content_type} if content_type else {}
    return read(step(1, "Call", "ACTION", **request("POST", _URL, headers=headers, body=text)), **more)


def _content(plan: RequestPlan | None, values: dict[str, object]) -> object:
    if plan is None:
        return "cannot be parsed"
    try:
        built = plan.build(values)
    except RenderError:
        return "cannot be built"
    return built.content, built.headers


_TEXTS = st.text(max_size=6) | st.sampled_from(
    [
        "{{ contact.x }}",
        "a {{contact.x}}",
        "{{contact.x}}{{contact.x}}",
        '{{ contact.x | default("é") }}',
        "{{",
        "{%",
        "\\",
        '"',
        "100%",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_TEXTS.filter(lambda key: not names_credential(key)), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    body=_JSON,
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
    value=st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
)
@example({"a": "{{ contact.x }}"}, None, False, 41)
@example({"a": ["{{ contact.x }}"]}, None, False, None)
@example({"a": " {{ contact.x }}"}, None, False, 41)
@example([1.0, 1e5, -0.0, 10**20], None, False, 41)
@settings(max_examples=400, deadline=None)
def test_sends_the_bytes_of_the_recorded_body(
    body: object, indent: int | None, ascii_only: bool, value: object
) -> None:
    """Whether it became an object or stayed text."""
    text = json.dumps(body, indent=indent, ensure_ascii=ascii_only)
    values: dict[str, object] = {"contact": {"x": value}}
    recorded, _ = parse_request(RequestText(_URL, body=text), CagedLanguage(frozenset(["Call"])))
    imported = _body(text)

    if imported.loads:
        action = load_flow(imported.flow).steps["Call"]
        assert isinstance(action, Action)
        assert _content(action.plan, values) == _content(recorded, values)
    else:
        assert recorded is None


@pytest.mark.parametrize(
    ("text", "content_type", "kept", "kind"),
    [
        ('{"a": 1, "b": ["x {{contact.x}}"]}', None, {"a": 1, "b": ["x {{contact.x}}"]}, "json"),
        ('{"a": "{{contact.x}}"}', None, '{"a": "{{contact.x}}"}', "json"),
        ('{"a": {{contact.x}}}', None, '{"a": {{contact.x}}}', "json"),
        ("a=1&b={{contact.x}}", "application/x-www-form-urlencoded", "a=1&b={{contact.x}}", "form"),
        ('{"a": "1"}', "application/x-www-form-urlencoded; charset=utf-8", {"a": "1"}, "form"),
        ('{"a": "{{contact.x}}"}', "multipart/form-data", {"a": "{{contact.x}}"}, "multipart"),
        ("<a>{{contact.x}}</a>", None, "<a>{{contact.x}}</a>", "xml"),
        ("a: {{contact.x}}", "application/yaml", "a: {{contact.x}}", "yaml"),
        ("hello", None, "hello", "plain"),
        ('{"a": 1}', "text/plain", '{"a": 1}', "plain"),
        ({"a": [1]}, None, {"a": [1]}, "json"),
    ],
)
def test_the_body_type_is_inferred_and_reported_but_not_written(
    text: object, content_type: str | None, kept: object, kind: str
) -> None:
    imported = _body(text, content_type)

    found = steps_of(imported)[0]
    assert (found["body"], "body_type" in found) == (kept, False)
    assert any(f"its type is {kind}: " in note.message for note in notes(imported, "inferred", "Call"))
    action = load_flow(imported.flow).steps["Call"]
    assert isinstance(action, Action)
    assert action.plan.body_type.value == kind


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": 1', '{"{{contact.x}}": 1}', '{"a": NaN}', '{"a": 1e999}'])
def test_json_that_cannot_be_sent_stays_as_it_is_and_is_a_fault(text: str) -> None:
    imported = _body(text)

    assert steps_of(imported)[0]["body"] == text
    assert [note.field.partition(".")[2] for note in notes(imported, "fault")] == ["body"]


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_a_blank_body_counts_as_no_body(text: object) -> None:
    assert "body" not in steps_of(_body(text, "application/json"))[0]


def test_activecampaigns_placeholders_stay_text_in_json() -> None:
    text = '{"name": "%contact.first_name%", "off": "10% more"}'

    imported = _body(text, syntax="activecampaign")

    assert steps_of(imported)[0]["body"] == text
    assert steps_of(_body(text))[0]["body"] == json.loads(text)


@pytest.mark.parametrize(
    ("text", "content_type", "kept"),
    [
        (
            f'{{"api_key": "{CRM_KEY}", "age": {{{{contact.x}}}}}}',
            None,
            '{"api_key": "{{ flow_execution_variables.api_key }}", "age": {{contact.x}}}',
        ),
        (
            '{"pin_code": 1, "secret": 123456789}',
            None,
            '{"pin_code": 1, "secret": {{ flow_execution_variables.secret }}}',
        ),
        (
            f"a=1&password={CRM_KEY}&b={{{{contact.x}}}}",
            "application/x-www-form-urlencoded",
            "a=1&password={{ flow_execution_variables.password }}&b={{contact.x}}",
        ),
        (f"<r><Token>{CRM_KEY}</Token></r>", None, "<r><Token>{{ flow_execution_variables.token }}</Token></r>"),
        (f"a: 1\napi-key: {CRM_KEY}\n", "text/yaml", "a: 1\napi-key: {{ flow_execution_variables.api_key }}\n"),
        (f"token: {CRM_KEY}", None, "token: {{ flow_execution_variables.token }}"),
    ],
)
def test_a_secret_in_a_body_becomes_a_variable(text: str, content_type: str | None, kept: str) -> None:
    imported = _body(text, content_type)

    assert steps_of(imported)[0]["body"] == kept
    assert CRM_KEY not in full_text(imported)
    assert imported.loads


@pytest.mark.parametrize(
    "text",
    [
        '{"token": "{{contact.x}}"}',
        '{"max_tokens": 1000000}',
        '{"author": "Ana"}',
        '{"key": "plan"}',
        '{"token": null}',
    ],
)
def test_keeps_non_literals_and_names_that_only_sound_secret(text: str) -> None:
    imported = _body(text)

    assert notes(imported, "secret") == []
    assert json.dumps(steps_of(imported)[0]["body"]).count("flow_execution_variables") == 0
