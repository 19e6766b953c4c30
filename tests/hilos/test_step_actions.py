"""Action steps: URL, headers, parameters, and the connections that hold their secrets."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from airflow_whatsapp_flows.connections import action_connection, connection_from_environment
from tests.hilos.samples import CRM_KEY, full_text, notes, only, read, request, step, steps_of, uuid

_URL = "https://api.crm.example/v1"


def _call(
    number: int = 1, *, method: str = "POST", url: str = _URL, then: int | None = None, **more: Any
) -> dict[str, Any]:
    way = uuid(then) if then else None
    return step(number, f"Call {number}", "ACTION", **request(method, url, **more), next_step_default=way)


def test_an_action_without_secrets_keeps_its_url_and_has_no_connection() -> None:
    found = only(_call(headers={"X-Source": "wa", "": ""}, params={"a": "1", "b": None}))

    assert found == {
        "name": "Call 1",
        "type": "action",
        "method": "POST",
        "url": _URL,
        "headers": {"X-Source": "wa"},
        "query_params": {"a": "1", "b": ""},
        "platform_id": uuid(1),
    }


@pytest.mark.parametrize(
    ("method", "body", "read_as"),
    [("put", None, "PUT"), ("", "x", "POST"), (None, None, "GET"), ("FETCH", None, "FETCH")],
)
def test_a_method_that_is_not_recorded_is_guessed(method: Any, body: str | None, read_as: str) -> None:
    imported = read(_call(method=method, body=body))

    assert steps_of(imported)[0]["method"] == read_as
    assert imported.loads == (read_as != "FETCH")
    guessed = [note for note in notes(imported, "inferred") if note.field == "action_request_method"]
    assert bool(guessed) == (not method)


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"Authorization": f"Bearer {CRM_KEY}"}, (("Authorization", f"Bearer {CRM_KEY}"),)),
        ({"authorization": f"Token {CRM_KEY}"}, (("authorization", f"Token {CRM_KEY}"),)),
        ({"Api-Token": CRM_KEY}, (("Api-Token", CRM_KEY),)),
        ({"X-Api-Key": CRM_KEY, "X-Client-Secret": "zz-99-zz-99"}, None),
        ({"Authorization": "Basic dXNlcjpzM2NyM3Qtdg=="}, (("Authorization", "Basic dXNlcjpzM2NyM3Qtdg=="),)),
        ({"X-Whatever": "sk-live-abcdefghijklmnop"}, (("X-Whatever", "sk-live-abcdefghijklmnop"),)),
    ],
)
def test_the_requested_connection_sends_the_recorded_headers(
    headers: dict[str, str], sent: tuple[tuple[str, str], ...] | None
) -> None:
    imported = read(_call(headers={**headers, "X-Source": "wa"}))

    found = steps_of(imported)[0]
    assert (found["connection"], found["url"], found["headers"]) == ("api_crm_example", "/v1", {"X-Source": "wa"})
    (told,) = notes(imported, "secret", None)
    variable, text = re.findall(r"(AIRFLOW_CONN_\w+)='(.*)'$", told.message)[0]
    assert variable == "AIRFLOW_CONN_API_CRM_EXAMPLE"
    fields = json.loads(text)
    if fields.get("login"):
        fields |= {"login": "user", "password": "s3cr3t-v"}
    else:
        fields["password"] = fields["password"].replace("...", next(iter(headers.values())).rpartition(" ")[2])
    for name in fields["extra"].get("headers", {}):
        fields["extra"]["headers"][name] = headers[name]
    made = action_connection(connection_from_environment("api_crm_example", {variable: json.dumps(fields)}))
    assert made.base_url == "https://api.crm.example"
    assert set(made.headers) == set(sent or headers.items())


def test_a_password_in_the_url_goes_to_the_connection() -> None:
    imported = read(_call(url="https://ana:p4ss-w0rd!@api.crm.example/v1?x=1"))

    found = steps_of(imported)[0]
    assert (found["connection"], found["url"]) == ("api_crm_example", "/v1?x=1")
    assert "p4ss" not in full_text(imported)
    assert '"login": "...", "password": "..."' in notes(imported, "secret", None)[0].message


def test_each_secret_of_a_host_gets_its_own_connection() -> None:
    one, other = {"X-Api-Key": CRM_KEY}, {"X-Api-Key": CRM_KEY[::-1]}
    port = "https://api.crm.example:8443/"

    imported = read(
        _call(1, headers=one, then=2),
        _call(2, headers=other, then=3),
        _call(3, headers=one, url=_URL + "/x", then=4),
        _call(4, headers=one, url=port),
    )

    assert [found["connection"] for found in steps_of(imported)] == [
        "api_crm_example", "api_crm_example_2", "api_crm_example", "api_crm_example_8443",
    ]  # fmt: skip
    assert len(notes(imported, "secret", None)) == 3


@pytest.mark.parametrize(
    "value", ["Bearer {{step.Login.response.token}}", "{{contact.token}}", "Token token={{contact.token}}", "Bearer "]
)
def test_a_header_of_variables_is_not_a_secret(value: str) -> None:
    login = step(2, "Login", "ACTION", **request("POST", _URL), next_step_default=uuid(1))

    imported = read(login, _call(headers={"Authorization": value}), syntax="hilos")

    assert steps_of(imported)[0]["headers"] == {"Authorization": value.strip()}
    assert notes(imported, "secret") == []


def test_a_secret_joined_with_a_variable_becomes_a_variable() -> None:
    imported = read(_call(headers={"Authorization": f"Bearer {CRM_KEY}.{{{{contact.id}}}}"}))

    found = steps_of(imported)[0]
    assert found["headers"]["Authorization"] == "Bearer {{ flow_execution_variables.authorization }}{{contact.id}}"
    assert imported.flow["sensitive"] == ["flow_execution_variables.authorization"]
    assert CRM_KEY not in full_text(imported)


@pytest.mark.parametrize("name", ["Idempotency-Key", "X-Author", "Keywords", "Content-Type", "X-Max-Tokens"])
def test_a_secret_sounding_name_is_not_a_secret(name: str) -> None:
    assert only(_call(headers={name: "text/plain"}))["headers"] == {name: "text/plain"}


def test_omits_transport_headers_and_duplicates() -> None:
    imported = read(
        _call(headers={"Host": "x.example", "content-length": "3", "X-A": "1", "x-a": "2", "X-B": {"c": 1}})
    )

    assert steps_of(imported)[0]["headers"] == {"X-A": "1"}
    assert len(notes(imported, "lost")) == 4


@pytest.mark.parametrize(
    ("url", "read_as"),
    [
        ("  https://a.example/x y?b=c d#top ", "https://a.example/x%20y?b=c%20d"),
        ("https://a.example?token={{contact.t}}", "https://a.example?token={{contact.t}}"),
        ("HTTPS://a.example/{{contact.a b}}", "https://a.example/{{contact.a b}}"),
    ],
)
def test_fixes_a_url_with_a_clear_meaning(url: str, read_as: str) -> None:
    imported = read(_call(url=url))

    assert steps_of(imported)[0]["url"] == read_as
    assert imported.loads


@pytest.mark.parametrize(
    ("url", "connection", "path"),
    [
        ("{{contact.app_url}}/api/x?a=1", "app_url", "/api/x?a=1"),
        ("{{ contact.app_url }}", "app_url", "/"),
        ("https://{{contact.region}}.crm.example/api", "example", "/api"),
    ],
)
def test_a_host_that_is_a_variable_becomes_a_connection(url: str, connection: str, path: str) -> None:
    imported = read(_call(url=url))

    found = steps_of(imported)[0]
    assert (found["connection"], found["url"]) == (connection, path)
    assert imported.loads
    assert [note.field for note in notes(imported, "lost")] == ["action_request_url"]


def test_a_secret_in_a_query_becomes_a_required_variable() -> None:
    imported = read(
        _call(url=f"{_URL}?api_key={CRM_KEY}&key=1", params={"access_token": CRM_KEY, "q": "{{contact.x}}"})
    )

    found = steps_of(imported)[0]
    assert found["url"] == f"{_URL}?api_key={{{{ flow_execution_variables.api_key }}}}&key=1"
    assert found["query_params"]["access_token"] == "{{ flow_execution_variables.access_token }}"
    variables = imported.flow["variables"]
    assert isinstance(variables, dict)
    assert {name: one["required"] for name, one in variables.items()} == {"api_key": True, "access_token": True}
    assert imported.loads


def test_key_shaped_text_is_a_secret_under_any_name() -> None:
    imported = read(_call(params={"q": "ghp_0123456789abcdefghij"}))

    assert steps_of(imported)[0]["query_params"] == {"q": "{{ flow_execution_variables.secret }}"}


def test_declares_undeclared_variables_if_others_are_declared() -> None:
    read_too = "a={{ flow_execution_variables.api_key }}&b={{flow_execution_variables.campaign}}"
    url = f"{_URL}?api_key={CRM_KEY}&{read_too}"

    imported = read(_call(url=url))

    variables = imported.flow["variables"]
    assert isinstance(variables, dict)
    assert set(variables) == {"api_key", "campaign", "api_key_2"}
    assert "?api_key={{ flow_execution_variables.api_key_2 }}&a=" in steps_of(imported)[0]["url"]
    assert imported.loads


def test_a_path_that_starts_with_two_slashes_keeps_the_origin() -> None:
    found = only(_call(url="https://api.crm.example//v1", headers={"X-Api-Key": CRM_KEY}))

    assert (found["connection"], found["url"]) == ("api_crm_example", "https://api.crm.example//v1")


def test_success_and_error_exits_are_kept() -> None:
    call = {**_call(then=2), "next_step_alternate": uuid(3)}
    say = [step(number, f"Say {number}", "MESSAGE", body="x") for number in (2, 3)]

    found = only(call, *say)

    assert (found["on_success"], found["on_error"]) == ("Say 2", "Say 3")
