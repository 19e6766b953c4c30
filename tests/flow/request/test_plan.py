"""A request is built byte for byte, and answers are only values in it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body import BodyType
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.request.plan import RequestText, parse_request
from airflow_whatsapp_flows.flow.template.language import Data
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.perform import build_request
from tests.flow.samples import action, flow_of, language


def build(answer: object = "Ana", **keys: Any) -> HttpRequest:
    step = flow_of(action(**keys)).steps["Send"]
    assert isinstance(step, Action)
    return build_request(step, Variables(contact={"a": answer}))  # type: ignore[dict-item]


def test_a_request_has_all_its_parts() -> None:
    request = build(
        method="PUT",
        url="/v1/{{ contact.a }}",
        connection="crm",
        headers={"X-A": "{{ contact.a }}"},
        query_params={"q": "{{ contact.a }}"},
        body={"name": "{{ contact.a }}"},
    )

    headers = (("X-A", "Ana"), ("Content-Type", "application/json"))
    assert request == HttpRequest("PUT", "/v1/Ana?q=Ana", headers, b'{"name":"Ana"}', "crm")


@pytest.mark.parametrize(
    ("keys", "content_type", "content"),
    [
        ({}, None, b""),
        ({"method": "GET", "body": {"a": 1}}, "application/json", b'{"a":1}'),
        (
            {"body": {"a": 1}, "headers": {"content-type": "application/vnd.api+json"}},
            "application/vnd.api+json",
            b'{"a":1}',
        ),
        (
            {"body": {"a": 1}, "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
            "application/x-www-form-urlencoded",
            b"a=1",
        ),
        ({"body": "a {{ contact.a }}", "body_type": "plain"}, "text/plain; charset=utf-8", b"a Ana"),
        ({"body": {"a": "{{ contact.a }}"}, "body_type": "form"}, "application/x-www-form-urlencoded", b"a=Ana"),
        ({"body_type": "none"}, None, b""),
    ],
    ids=str,
)
def test_content_and_content_type_go_together(keys: dict[str, Any], content_type: str | None, content: bytes) -> None:
    request = build(**keys)

    types = [value for name, value in request.headers if name.lower() == "content-type"]
    assert (types, request.content) == ([content_type] if content_type else [], content)


def test_a_multipart_boundary_is_always_ours() -> None:
    request = build(
        body=[{"name": "a", "value": "x"}],
        body_type="multipart",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )

    (value,) = [value for name, value in request.headers if name == "Content-Type"]
    assert value.startswith("multipart/form-data; boundary=")
    assert not value.endswith("boundary=x")
    assert value.partition("boundary=")[2].encode() in request.content


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"url": "https://x.test/{{ contact.b }}"}, "url"),
        ({"query_params": {"q": ["{{ contact.b }}"]}}, "query_params.q"),
        ({"headers": {"X-A": "{{ contact.b }}"}}, "headers.X-A"),
        ({"body": {"a": ["{{ contact.b }}"]}}, "body.a[0]"),
    ],
    ids=["url", "query", "header", "body"],
)
def test_a_missing_value_reports_its_location(keys: dict[str, Any], where: str) -> None:
    with pytest.raises(RenderError, match=r"contact\.b has no value") as caught:
        build(**keys)
    assert caught.value.where.startswith(where)


def test_every_part_reports_its_faults() -> None:
    text = RequestText(
        url="https://x.test/{{ y }}",
        headers={"Host": "x", "X-A": "{{ y }}", "X-B": "\n"},
        query_params={"a": "{{ y }}", "b": ["{{ y }}"]},
        body={"a": "{{ y }}", "b": {"c": "{{"}},
    )

    plan, faults = parse_request(text, language())

    assert plan is None
    assert {fault.path for fault in faults} == {
        ("url",),
        ("headers", "Host"),
        ("headers", "X-A"),
        ("headers", "X-B"),
        ("query_params", "a"),
        ("query_params", "b", 0),
        ("body", "a"),
        ("body", "b", "c"),
    }


def test_the_same_answers_give_the_same_bytes() -> None:
    keys: dict[str, Any] = {"body": [{"name": "a", "value": "{{ contact.a }}"}], "body_type": "multipart"}

    assert build(**keys) == build(**keys)


@given(st.text())
def test_answers_are_only_values(answer: str) -> None:
    try:
        request = build(
            answer,
            url="https://x.test/v1/{{ contact.a }}/x?a={{ contact.a }}&b=2",
            headers={"X-A": "1"},
            query_params={"c": "{{ contact.a }}"},
            body={"a": "{{ contact.a }}", "b": ["x {{ contact.a }}"]},
        )
    except RenderError:
        return
    parts = urlsplit(request.url)
    assert len(parts.path.split("/")) == 4
    assert parse_qsl(parts.query, keep_blank_values=True) == [("a", answer), ("b", "2"), ("c", answer)]
    assert request.headers == (("X-A", "1"), ("Content-Type", "application/json"))
    assert json.loads(request.content) == {"a": answer, "b": [f"x {answer}"]}


def test_data_is_never_treated_as_a_template() -> None:
    text = RequestText("https://x.test/", body=Data({"a": "{{ contact.a }}"}), headers={"X": Data("{{ 7*7 }}")})
    plan, faults = parse_request(text, language())

    assert faults == []
    assert plan is not None
    assert plan.body_type is BodyType.JSON
    request = plan.build({})
    assert request.content == b'{"a":"{{ contact.a }}"}'
    assert ("X", "{{ 7*7 }}") in request.headers


def test_templates_of_all_parts_are_known() -> None:
    step = flow_of(
        action(
            url="https://x.test/{{ contact.u }}",
            headers={"X": "{{ contact.h }}"},
            query_params={"q": "{{ contact.q }}"},
            body={"b": "{{ contact.b }}"},
        )
    ).steps["Send"]
    assert isinstance(step, Action)

    assert [template.text for template in step.plan.templates] == [
        f"{{{{ contact.{name} }}}}" for name in ("u", "q", "h", "b")
    ]
