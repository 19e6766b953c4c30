"""Literal secrets in a flow file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.literal_secrets import lacks_secrets
from airflow_whatsapp_flows.flow.loading.load import load_flow

TOKEN = "c4n4ryT0k3nV4lu3"
HOOK = "https://hooks.example.com/services/T0001/B0002/x7Fq2LmZp9RtY4kWvB3nQ8sD"


def flow_text(**keys: Any) -> str:
    step = {"name": "Send", "type": "action", "url": "https://crm.example/v1", **keys}
    return json.dumps({"flow_format": 1, "id": "literal", "steps": [step]}, indent=1)


def faults_of(**keys: Any) -> list[tuple[tuple[str | int, ...], str]]:
    text = flow_text(**keys)
    with pytest.raises(FlowFileError) as caught:
        load_flow(text, "flow.json")
    assert TOKEN not in str(caught.value)
    for fault in caught.value.faults:
        line = text.splitlines()[(fault.line or 0) - 1]
        assert TOKEN in line[(fault.column or 0) - 1 :], f"{fault.where()} is not the place: {line}"
        assert fault.step == "Send"
    return [(fault.path[2:], fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("headers", "way"),
    [
        pytest.param({"Authorization": f"Bearer {TOKEN}"}, '"auth": "bearer"', id="bearer"),
        pytest.param({"authorization": f"Basic {TOKEN}"}, "the login and the password", id="basic"),
        pytest.param({"X-Api-Key": TOKEN}, '"headers" of the extra', id="key"),
        pytest.param({"Cookie": f"session={TOKEN}"}, '"headers" of the extra', id="cookie"),
        pytest.param({"X-Plain": f"sk_live_{TOKEN}"}, '"headers" of the extra', id="shape"),
    ],
)
def test_refuses_a_literal_secret_in_a_header(headers: dict[str, str], way: str) -> None:
    ((path, message),) = faults_of(headers=headers)

    (name,) = headers
    assert path == ("headers", name)
    assert f"the header {name!r} contains a literal secret" in message
    assert way in message
    assert f"list {name!r} in 'not_secret'" in message


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        pytest.param({"url": f"https://crm.example/v1?api_key={TOKEN}"}, ("url",), id="URL"),
        pytest.param({"query_params": {"access_token": TOKEN}}, ("query_params", "access_token"), id="query"),
        pytest.param({"query_params": [["a", "b"], ["token", TOKEN]]}, ("query_params", 1, 1), id="pairs"),
        pytest.param({"body": {"a": [{"password": TOKEN}]}}, ("body", "a", 0, "password"), id="body"),
        pytest.param({"body": {"secrets": [TOKEN]}}, ("body", "secrets", 0), id="list"),
        pytest.param(
            {"body_type": "multipart", "body": [{"name": "client_secret", "value": TOKEN}]},
            ("body", 0, "value"),
            id="part",
        ),
        pytest.param({"body_type": "form", "body": [["a", "b"], ["token", TOKEN]]}, ("body", 1, 1), id="form pairs"),
        pytest.param({"body": f'{{"password": "{TOKEN}"}}'}, ("body",), id="JSON text"),
        pytest.param({"body_type": "form", "body": f"a=1&token={TOKEN}"}, ("body",), id="form text"),
        pytest.param({"body_type": "xml", "body": f"<a><ApiKey>{TOKEN}</ApiKey></a>"}, ("body",), id="XML text"),
        pytest.param({"body": {"note": f"sk_live_{TOKEN}"}}, ("body", "note"), id="shape"),
    ],
)
def test_refuses_a_literal_secret_in_a_query_or_a_body(keys: dict[str, Any], path: tuple[str | int, ...]) -> None:
    ((where, message),) = faults_of(**keys)

    assert where == path
    assert "contains a literal secret" in message
    assert "{{ flow_execution_variables." in message
    assert "'sensitive'" in message


@pytest.mark.parametrize(
    "keys",
    [
        {"headers": {"Authorization": "Bearer {{ flow_execution_variables.token }}"}},
        {"headers": {"X-Api-Key": "{{ flow_execution_variables.token }}", "Idempotency-Key": "abcdefgh"}},
        {"headers": {"X-Auth-Type": "password", "X-Max-Tokens": "4096"}},
        {"query_params": {"token": "{{ flow_execution_variables.token }}", "sort_key": "created", "key": "name"}},
        {"body": {"token_type": "bearer", "author": "the bot", "keyword": "shoes", "password": None, "pin": 0}},
        {"body": {"signature": "With kind regards, the team", "token": "", "cookie_consent": "accepted"}},
    ],
)
def test_accepts_values_that_are_not_secrets(keys: dict[str, Any]) -> None:
    flow = load_flow(flow_text(**keys))

    assert flow.literals == ()
    assert flow.source_for_storage == json.dumps(flow.source)


def test_refuses_a_literal_secret_as_a_variable_default() -> None:
    source = json.loads(flow_text())
    written = json.dumps({**source, "variables": {"api_token": {"default": TOKEN}, "campaign": {"default": "spring"}}})
    with pytest.raises(FlowFileError) as caught:
        load_flow(written)
    (fault,) = caught.value.faults
    assert (fault.path, TOKEN in str(caught.value)) == (("variables", "api_token", "default"), False)


def test_a_percent_placeholder_is_not_a_literal_secret() -> None:
    source = json.loads(flow_text(headers={"X-Api-Key": "%contact.key%"}))
    load_flow({**source, "syntax": "activecampaign"})


def test_keeps_values_that_the_author_marks_as_not_secret() -> None:
    source = json.loads(flow_text(headers={"X-Api-Key": TOKEN}, body={"Token": TOKEN}))

    flow = load_flow({**source, "not_secret": ["x-api-key", "token"]})

    assert TOKEN in flow.source_for_storage


def test_the_token_of_a_webhook_is_sent_and_stored_as_a_digest() -> None:
    flow = load_flow(flow_text(url=HOOK, headers={"X-Trace": "a1b2c3d4e5f6a7b8c9d0e1f2"}))
    other = load_flow(flow_text(url=f"{HOOK}9", headers={"X-Trace": "a1b2c3d4e5f6a7b8c9d0e1f2"}))

    assert flow.literals == ("x7Fq2LmZp9RtY4kWvB3nQ8sD", "a1b2c3d4e5f6a7b8c9d0e1f2")
    assert not [secret for secret in flow.literals if secret in flow.source_for_storage]
    assert lacks_secrets(flow.source_for_storage)
    assert flow.source_for_storage != other.source_for_storage, "a change is not noticed"
    stored = load_flow(flow.source_for_storage)
    assert stored.source_for_storage == flow.source_for_storage
    assert stored.literals == ()
    assert list(stored.steps) == list(flow.steps)
