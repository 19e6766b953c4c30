"""Calls of the Hilos API, as Action steps send them, conform to its OpenAPI document.

The package has no client of this API: a flow calls it like any other. Prism checks each request against the document
and answers 422 with the violations it found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Cli, Write
from tests.conftest import SHARED
from tests.servers.foreign_programs import NotInstalledError, running_prism

pytestmark = pytest.mark.long

SPECIFICATION = SHARED / "specs" / "hilos-openapi.yml"
ID = "3f0a6d0e-7d0b-4a8e-9a55-0d6f6f3b1c11"
RESPONSE = {
    "id": ID,
    "created_on": "2026-11-22T16:04:00Z",
    "contact": {
        "id": ID,
        "phone": "+5215512345678",
        "first_name": 'Ana "María" <b>&',
        "last_name": "Núñez",
        "email": "ana@example.com",
        "meta": {"plan": "gold", "age": 41},
    },
    "step": {"Ask": "¿Qué tal? 😀 100% & más"},
}
ASK = {"name": "Ask", "type": "question", "body": "How are you?", "answer_type": "ANY", "next": "call 0"}

# Method, path, and other keys of the flow; {id} is an id from the contact.
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/api/account-member", {"query_params": {"email__iexact": "{{ contact.email }}"}}),
    ("GET", "/api/channels/whatsapp/template", {"query_params": {"search": "{{ step.Ask }}", "page_size": 10}}),
    ("GET", "/api/channels/whatsapp/template/{id}", {}),
    ("DELETE", "/api/channels/whatsapp/template/{id}", {}),
    (
        "POST",
        "/api/channels/whatsapp/template/{id}/send",
        {"body": {"phone": "{{ contact.phone }}", "variables": ["{{ contact.first_name }}", "{{ step.Ask }}"]}},
    ),
    ("GET", "/api/contact", {"query_params": {"search": "{{ contact.phone }}", "page": 1}}),
    (
        "POST",
        "/api/contact",
        {
            "body": {
                "phone": "{{ contact.phone }}",
                "first_name": "{{ contact.first_name }}",
                "last_name": "{{ contact.last_name }}",
                "email": "{{ contact.email }}",
                "meta": "{{ contact.meta }}",
                "tags": [{"name": "lead"}],
            }
        },
    ),
    ("GET", "/api/contact/{id}", {}),
    ("PATCH", "/api/contact/{id}", {"body": '{"meta": {"answer": "{{ step.Ask }}"}, "overwrite_meta": false}'}),
    ("PUT", "/api/contact/{id}", {"body": {"phone": "{{ contact.phone }}", "first_name": "{{ contact.first_name }}"}}),
    ("DELETE", "/api/contact/{id}", {}),
    ("GET", "/api/flow-execution", {"query_params": {"flow": "{{ contact.id }}", "page": 1}}),
    ("GET", "/api/flow-execution/{id}", {}),
    ("GET", "/api/flow-execution-contact", {"query_params": {"contact": "{{ contact.id }}", "is_active": True}}),
    ("GET", "/api/flow-execution-contact/{id}", {}),
    (
        "POST",
        "/api/flow/{id}/run",
        {
            "body": {
                "execute_for": "LIST",
                "has_priority": False,
                "contact_list": [{"phone": "{{ contact.phone }}", "meta": {"answer": "{{ step.Ask }}"}}],
            }
        },
    ),
    ("GET", "/api/inbox/conversation", {"query_params": {"contact": "{{ contact.id }}", "page_size": 5}}),
    ("PATCH", "/api/inbox/conversation/{id}/update", {"body": {"status": "CLOSED", "tags": []}}),
    (
        "PUT",
        "/api/inbox/conversation/{id}/update",
        {"body": {"id": "{{ contact.id }}", "contact": "{{ contact.id }}", "status": "RESOLVED", "assigned": []}},
    ),
]


@pytest.fixture(scope="module")
def prism() -> Iterator[str]:
    if not SPECIFICATION.exists():
        pytest.skip("the OpenAPI document of Hilos is not beside the checkout")
    try:
        with running_prism(SPECIFICATION) as url:
            yield url
    except NotInstalledError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def crm_connection(prism: str, monkeypatch: pytest.MonkeyPatch) -> str:
    connection = {
        "conn_type": "whatsapp_action",
        "host": prism,
        "password": "Token 0123456789abcdef",
        "extra": {"auth": "header", "header_name": "Authorization"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_HILOS", json.dumps(connection))
    return prism


def _flow(calls: list[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [ASK]
    for number, (method, path, more) in enumerate(calls):
        step = {"name": f"call {number}", "type": "action", "connection": "hilos", "method": method, **more}
        following = f"call {number + 1}" if number + 1 < len(calls) else None
        steps.append({**step, "url": path.replace("{id}", "{{ contact.id }}"), "on_success": following})
    return {"flow_format": 1, "id": "hilos_calls", "steps": steps}


def _results(cli: Cli, write: Write, flow: dict[str, Any]) -> list[dict[str, Any]]:
    done = cli("run", write("f.json", flow), "--response", write("r.json", RESPONSE), "--format", "json")
    shown = json.loads(done.out)
    return [visit["result"] for visit in shown["visits"] if visit["result"]]


def test_every_operation_of_the_document_is_called() -> None:
    if not SPECIFICATION.exists():
        pytest.skip("the OpenAPI document of Hilos is not beside the checkout")
    paths = yaml.safe_load(SPECIFICATION.read_text(encoding="utf-8"))["paths"]
    operations = {
        (method.upper(), path) for path, methods in paths.items() for method in methods if method != "parameters"
    }
    assert {(method, path) for method, path, _ in CALLS} == operations


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]} {call[1]}")
def test_calls_of_the_platform_have_no_violation(
    cli: Cli, write: Write, crm_connection: str, call: tuple[str, str, dict[str, Any]]
) -> None:
    (result,) = _results(cli, write, _flow([call]))

    assert result["error"] is None, result["response"]
    assert (result["outcome"], result["status_code"] // 100) == ("success", 2)


@pytest.mark.parametrize(
    ("call", "status"),
    [
        pytest.param(("POST", "/api/flow/{id}/run", {"body": {"execute_for": "NOBODY"}}), 422, id="body"),
        pytest.param(("GET", "/api/contact", {"query_params": {"page": "{{ step.Ask }}"}}), 422, id="query"),
        pytest.param(("GET", "/api/contact/{id}x", {}), 422, id="path"),
        pytest.param(("POST", "/api/no-such", {"body": {}}), 404, id="address"),
        pytest.param(("GET", "/api/contact", {"connection": "nobody"}), 401, id="credentials"),
    ],
)
def test_prism_detects_a_violation(
    cli: Cli,
    write: Write,
    crm_connection: str,
    monkeypatch: pytest.MonkeyPatch,
    call: tuple[str, str, dict[str, Any]],
    status: int,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NOBODY", crm_connection)

    (result,) = _results(cli, write, _flow([call]))

    assert result["status_code"] == status, result
