"""One contact: its walk, its masked answers, and each attempt with what came back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from airflow_whatsapp_flows import build_dag
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.inspect.rebuild import DIFFERS, NOT_REACHED
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.plugin.request_view import MAY_NOT_COPY
from airflow_whatsapp_flows.plugin.states import FATES
from tests.airflow_runs import run_dag
from tests.ledger.filling import FLOW_ID, a_replay, attempt, change, end, response, result
from tests.operators.flows import action, flow
from tests.plugin.pages import HOSTILE, follow_next, text_of
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

PAGES = "/whatsapp-flows/replays/first/contacts"


@pytest.fixture
def replay(ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]) -> Replay:
    use_ledger(ledger_url)
    found = a_replay(ledger, [response(number) for number in range(3)])
    end(ledger, found, [ContactState.COMPLETED, ContactState.IN_DOUBT, ContactState.FAILED])
    return found


def test_shows_the_walk_answers_and_attempts(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    refused = result(
        {"error": "busy"},
        outcome="error",
        error={"kind": "status", "message": "the server answered 503", "sent": "yes"},
    )
    attempt(
        ledger, "r-0", Fate.ANSWERED, replay, status_code=503, error_kind="status", result=refused, begun_at=1000.0,
        ended_at=1000.25,
    )  # fmt: skip
    attempt(ledger, "r-0", Fate.SUCCEEDED, replay, number=2, status_code=201, result=result({"id": 7}))
    page = client.get(f"{PAGES}/r-0")
    assert page.status_code == 200
    text = text_of(page)
    for shown in (
        "503",
        "the server answered 503",
        '"error": "busy"',
        "250 ms",
        "201",
        '"id": 7',
        "key-r-0",
        "/v1/x",
    ):
        assert shown in text, shown
    assert text.index("busy") < text.index('"id": 7')
    assert "+52…00" in text
    assert "+5255" not in text
    assert "Ana" not in text
    assert '"Ask name": "A…"' in text


def test_the_flow_is_loaded_once(client: TestClient, replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []

    def load(source: object, *more: Any) -> Any:
        loaded.append(source)
        return load_flow(source, *more)

    for module in ("replay.report", "plugin.flow_sources"):
        monkeypatch.setattr(f"airflow_whatsapp_flows.{module}.load_flow", load)
    assert client.get(f"{PAGES}/r-0").status_code == 200
    assert len(loaded) == 1


@pytest.mark.parametrize("fate", [*Fate, None])
def test_says_whether_each_request_arrived(
    client: TestClient, ledger: Ledger, replay: Replay, fate: Fate | None
) -> None:
    attempt(ledger, "r-0", fate, replay)
    assert FATES[fate.value if fate else None].meaning in text_of(client.get(f"{PAGES}/r-0"))


def test_a_contact_in_doubt_comes_with_the_commands_that_resolve_it(client: TestClient, replay: Replay) -> None:
    text = text_of(client.get(f"{PAGES}/r-1"))
    assert "whatsapp-flows replay resolve --as sent -- first r-1" in text
    assert "whatsapp-flows replay resolve --as not_sent -- first r-1" in text
    assert "resolve" not in text_of(client.get(f"{PAGES}/r-0"))


def test_an_id_is_never_an_option_of_a_command(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    change(ledger, 2, response_id="--fingerprint=f-lost")
    text = text_of(client.get(f"{PAGES}/--fingerprint=f-lost"))
    assert "whatsapp-flows replay resolve --as not_sent -- first --fingerprint=f-lost" in text
    assert "first --fingerprint=f-lost --as" not in text


@pytest.mark.parametrize("id_", ["a\x1bb", "a\u202eb", "x" * 201])
def test_an_id_that_cannot_be_seen_whole_has_no_command(
    client: TestClient, ledger: Ledger, replay: Replay, id_: str
) -> None:
    change(ledger, 2, response_id=id_)
    text = text_of(client.get(f"{PAGES}/{quote(id_, safe='')}"))
    assert "there is no command to copy" in text
    assert "whatsapp-flows replay" not in text
    assert "It arrived" in text


def test_attempts_of_other_replays_are_linked(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    second = a_replay(ledger, [response(1)], "second/x", force=True)
    attempt(ledger, "r-1", Fate.SUCCEEDED, second)
    assert 'href="/whatsapp-flows/replays/second~2Fx"' in client.get(f"{PAGES}/r-1").text


def test_an_attempt_of_a_dag_run_is_linked(client: TestClient, replay: Replay, server: RecordingServer) -> None:
    run = run_dag(build_dag(flow(action("Create"), id=FLOW_ID)), response(0))
    assert run.state == "success"
    page = client.get(f"{PAGES}/r-0").text
    assert f'href="/dags/{FLOW_ID}/runs/{quote(run.run_id, safe="")}" data-airflow>{FLOW_ID} · {run.run_id}</a>' in page


def test_a_persons_decision_is_shown_with_who_and_when(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    decided = {"resolved": "not_sent", "by": "ana <b>", "at": 1000.0, "was": {}}
    attempt(ledger, "r-1", Fate.NOT_SENT, replay, origin=json.dumps(decided))
    text = text_of(client.get(f"{PAGES}/r-1"))
    assert "not_sent, by ana <b>, 1970-01-01 00:16:40 UTC" in text


def test_attempts_are_paged(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    for number in range(1, 121):
        attempt(ledger, "r-0", Fate.SUCCEEDED, replay, number=number, key=f"key-{number:04}")
    pages = follow_next(client, f"{PAGES}/r-0")
    found = [key for page in pages for key in re.findall(r"key-\d{4}", page.text)]
    assert found == [f"key-{number:04}" for number in range(1, 121)]


@pytest.mark.parametrize("id_", ["a/b", "a%2Fb", "ünï ☃", "x?y#z", HOSTILE.replace("\x01", "")])
def test_a_response_may_have_any_id(client: TestClient, ledger: Ledger, replay: Replay, id_: str) -> None:
    change(ledger, 1, response_id=id_)
    change(ledger, 2, response_id="a")
    page = client.get(f"{PAGES}/{quote(id_, safe='')}")
    assert page.status_code == 200, id_
    assert "<script>alert" not in page.text


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(HOSTILE, id="markup"),
        pytest.param("\x00\x01\ufffd\x7f" * 100, id="binary"),
        pytest.param("x" * 1_000_000, id="a megabyte"),
        pytest.param({HOSTILE: [HOSTILE] * 100}, id="nested"),
        pytest.param("مرحبا \u202e abc", id="right to left"),
    ],
)
def test_replies_and_answers_of_any_kind_are_text(
    client: TestClient, ledger: Ledger, replay: Replay, reply: Any
) -> None:
    for number, fate in enumerate((Fate.SUCCEEDED, Fate.ANSWERED), start=1):
        attempt(ledger, "r-0", fate, replay, number=number, result=result(reply), step=HOSTILE, method=HOSTILE)
    change(ledger, 1, response=json.dumps(response(1, step={"Ask name": reply})), path=json.dumps([HOSTILE] * 1000))
    page = client.get(f"{PAGES}/r-0")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert not set("\u202e\x00\x01\x7f") & set(page.text)
    assert len(page.content) < 200_000


def test_a_purged_response_is_said_to_be(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    change(ledger, 1, response=None, phone=None)
    assert "purged" in client.get(f"{PAGES}/r-0").text


def test_a_contact_that_does_not_exist_is_named(client: TestClient, replay: Replay) -> None:
    page = client.get(f"{PAGES}/r-99")
    assert page.status_code == 404
    assert "r-99" in page.text
    assert client.get(f"{PAGES}/r-0?row=999999").status_code == 404
    assert client.get(f"{PAGES}/r-0?row=x").status_code == 422


CREATE = {
    "name": "Create", "type": "action", "connection": "crm", "url": "/contacts",
    "body": {"name": "{{ step.Ask name }}", "phone": "{{ contact.phone }}"},
}  # fmt: skip
LEAD = {
    "flow_format": 1,
    "id": FLOW_ID,
    "steps": [{"name": "Ask name", "type": "question", "next": "Create"}, CREATE],
}


@pytest.fixture
def refused_request(ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]) -> HttpRequest:
    """A request that was sent to a connection, and refused."""
    use_ledger(ledger_url)
    replay = a_replay(ledger, [response(1, step={"Ask name": HOSTILE})], flow=LEAD)
    end(ledger, replay, [ContactState.FAILED])
    content = json.dumps({"name": HOSTILE, "phone": "+525500000001"}, ensure_ascii=False, separators=(",", ":"))
    headers = (("Content-Type", "application/json"),)
    request = HttpRequest("POST", "https://crm.example/api/contacts", headers, content.encode(), "crm")
    recorded = result({"error": "no"}, outcome="error", url="https://crm.example/api/contacts", error=None)
    attempt(
        ledger, "r-1", Fate.ANSWERED, replay, digest=request.digest(), host="crm.example", status_code=422,
        result=recorded,
    )  # fmt: skip
    return request


def test_each_attempt_has_its_request_and_what_sends_it_again(client: TestClient, refused_request: HttpRequest) -> None:
    page = client.get(f"{PAGES}/r-1")
    text = text_of(page)
    assert f"POST {refused_request.url}" in text
    assert '"phone": "+52…01"' in text
    assert "--header 'Content-Type: application/json'" in text
    assert '--header "Authorization: ${WF_CRM_AUTHORIZATION-}"' in text
    assert "http.client.HTTPSConnection(" in text
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text


def test_only_who_may_edit_the_dag_gets_the_values_of_the_contact(
    client_as: Callable[[str], TestClient], refused_request: HttpRequest
) -> None:
    page = client_as("viewer").get(f"{PAGES}/r-1")
    assert MAY_NOT_COPY in text_of(page)
    assert "curl " not in text_of(page)
    assert "00000001" not in page.text


def test_a_request_that_is_not_proved_is_not_shown(
    client: TestClient, ledger: Ledger, refused_request: HttpRequest
) -> None:
    attempt(ledger, "r-1", Fate.ANSWERED, number=2, digest="of another request", host="crm.example")
    attempt(ledger, "r-1", Fate.ANSWERED, step="Gone", digest="of another step", host="crm.example")
    text = text_of(client.get(f"{PAGES}/r-1"))
    assert text.count("http.client.HTTPSConnection(") == 1
    assert DIFFERS in text
    assert NOT_REACHED in text


def test_a_page_of_many_requests_stays_small(client: TestClient, ledger: Ledger, refused_request: HttpRequest) -> None:
    for number in range(2, 30):
        attempt(
            ledger, "r-1", Fate.ANSWERED, number=number, digest=refused_request.digest(), host="crm.example",
            result=result("y" * 5000, outcome="error", url="https://crm.example/api/contacts", error=None),
        )  # fmt: skip
    page = client.get(f"{PAGES}/r-1")
    assert page.status_code == 200
    assert len(page.content) < 200_000
