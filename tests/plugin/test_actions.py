"""Resolving from a page: only with permission, only from a page of ours, and recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger, resolve
from airflow_whatsapp_flows.ledger.claims import claim, release
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.schema import versions
from tests.ledger.filling import a_replay, attempt, attempts_of, change, end, response, states_of

pytestmark = pytest.mark.usefixtures("airflow")

PAGE = "/whatsapp-flows/replays/first"
RESOLVE = f"{PAGE}/resolve"
HEADERS = {"X-WhatsApp-Flows": "1"}
ONE = {"decision": "not_sent", "response_id": "r-0"}
_ERROR = json.dumps({"step": "Create", "kind": "interrupted", "status_code": None, "host": "crm", "message": ""})
IN_DOUBT, PENDING = ContactState.IN_DOUBT.value, ContactState.PENDING.value


@pytest.fixture
def replay(ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]) -> Replay:
    """Three contacts in doubt, two of them by the same error."""
    use_ledger(ledger_url)
    found = a_replay(ledger, [response(number) for number in range(3)])
    ids = end(ledger, found, [ContactState.IN_DOUBT] * 3)
    for number, one in enumerate(ids):
        change(ledger, one, fingerprint="other" if number == 2 else "lost", error=_ERROR)
        attempt(ledger, f"r-{number}", Fate.UNKNOWN, found)
    return found


def _send(client: TestClient, value: Any = ONE, **more: Any) -> Any:
    return client.post(RESOLVE, json=value, headers={**HEADERS, **more})


def _is_unchanged(ledger: Ledger, replay: Replay) -> bool:
    return states_of(ledger, replay) == [IN_DOUBT] * 3 and attempts_of(ledger, "r-0")[0].origin is None


@pytest.mark.parametrize(("decision", "fate"), [("sent", Fate.SUCCEEDED), ("not_sent", Fate.NOT_SENT)])
def test_resolves_one_contact_and_records_who(
    client: TestClient, ledger: Ledger, replay: Replay, decision: str, fate: Fate
) -> None:
    reply = _send(client, {"decision": decision, "response_id": "r-0"})
    assert reply.status_code == 200
    assert reply.json()["changed"] is True
    assert "1 request of 1 contact recorded" in reply.json()["message"]
    assert states_of(ledger, replay) == [PENDING, IN_DOUBT, IN_DOUBT]
    [row] = attempts_of(ledger, "r-0")
    assert row.fate == fate.value
    origin = json.loads(row.origin)
    assert (origin["resolved"], origin["by"]) == (decision, "admin")
    assert f"{decision}, by admin" in client.get(f"{PAGE}/contacts/r-0").text


def test_resolves_all_contacts_with_an_error(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    reply = _send(client, {"decision": "sent", "fingerprint": "lost"})
    assert "2 requests of 2 contacts recorded: arrived" in reply.json()["message"]
    assert states_of(ledger, replay) == [PENDING, PENDING, IN_DOUBT]


def test_what_is_no_longer_in_doubt_is_not_changed(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    assert _send(client).json()["changed"] is True
    reply = _send(client, {"decision": "sent", "response_id": "r-0"})
    assert reply.status_code == 200
    assert reply.json()["changed"] is False
    assert json.loads(attempts_of(ledger, "r-0")[0].origin)["resolved"] == "not_sent"


@pytest.mark.parametrize(
    ("role", "status"), [("anonymous", 401), ("viewer", 403), ("user", 200), ("op", 200), ("admin", 200)]
)
def test_needs_permission_to_edit_the_dag(
    client_as: Callable[[str], TestClient], ledger: Ledger, replay: Replay, role: str, status: int
) -> None:
    reply = _send(client_as(role))
    assert reply.status_code == status
    assert _is_unchanged(ledger, replay) is (status != 200)


@pytest.mark.parametrize(("role", "is_shown"), [("viewer", False), ("user", True)])
def test_the_buttons_are_for_those_who_may_use_them(
    client_as: Callable[[str], TestClient], replay: Replay, role: str, is_shown: bool
) -> None:
    for path in (PAGE, f"{PAGE}/contacts/r-0"):
        text = client_as(role).get(path).text
        assert ("data-dialog" in text) is is_shown
        assert (f'data-action="{RESOLVE}"' in text) is is_shown


def test_who_may_not_see_the_replay_gets_404(
    client: TestClient, ledger: Ledger, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_whatsapp_flows.plugin.replay_page.may", lambda user, dag_id, method="GET": False)
    assert _send(client).status_code == 404
    assert _is_unchanged(ledger, replay)


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [
        pytest.param("application/json", {}, id="no header of ours"),
        pytest.param("application/json", {"X-WhatsApp-Flows": "0"}, id="another header"),
        pytest.param("application/x-www-form-urlencoded", HEADERS, id="a form"),
        pytest.param("multipart/form-data; boundary=x", HEADERS, id="a form with files"),
        pytest.param("text/plain", HEADERS, id="a form as text"),
        pytest.param("text/plain; application/json", HEADERS, id="a form that looks like JSON"),
        pytest.param("", HEADERS, id="no content type"),
        pytest.param("application/json", {**HEADERS, "Sec-Fetch-Site": "cross-site"}, id="another site"),
        pytest.param("application/json", {**HEADERS, "Sec-Fetch-Site": "same-site"}, id="a sibling site"),
    ],
)
def test_a_request_from_another_site_is_refused(
    client: TestClient, ledger: Ledger, replay: Replay, content_type: str, headers: dict[str, str]
) -> None:
    reply = client.post(RESOLVE, content=json.dumps(ONE), headers={"Content-Type": content_type, **headers})
    assert reply.status_code in (403, 422)  # what FastAPI cannot read as JSON is refused before
    assert _is_unchanged(ledger, replay)


def test_each_refusal_says_why(client_as: Callable[[str], TestClient], replay: Replay) -> None:
    asked = {"Accept": "application/json"}
    reply = client_as("viewer").post(RESOLVE, json=ONE, headers={**HEADERS, **asked})
    needed = "It needs permission for the DAG of the flow. Ask an administrator of Airflow."
    assert (reply.status_code, reply.json()["message"]) == (403, f"This is not allowed. {needed}")
    reply = client_as("admin").post(RESOLVE, json=ONE, headers=asked)
    why = "This request does not come from a page of WhatsApp flows."
    assert (reply.status_code, reply.json()["message"]) == (403, f"This is not allowed. {why}")


def test_another_site_is_never_allowed_to_ask(client: TestClient, replay: Replay) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    reply = client.options(RESOLVE, headers={**asked, "Access-Control-Request-Headers": "x-whatsapp-flows"})
    assert reply.status_code == 405
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_other_methods_are_refused(client: TestClient, ledger: Ledger, replay: Replay, method: str) -> None:
    assert client.request(method, RESOLVE, headers=HEADERS).status_code == 405
    assert _is_unchanged(ledger, replay)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="empty"),
        pytest.param({"decision": "sent"}, id="no selection"),
        pytest.param({"decision": "perhaps", "response_id": "r-0"}, id="unknown decision"),
        pytest.param({"decision": "sent", "response_id": "r-0", "fingerprint": "lost"}, id="both selections"),
        pytest.param({"decision": "sent", "response_id": 0}, id="number as id"),
        pytest.param({"decision": ["sent"], "response_id": "r-0"}, id="list as decision"),
        pytest.param({"decision": "sent", "response_id": "x" * 20_000}, id="long id"),
        pytest.param({"decision": "sent", "response_id": "r-0\0"}, id="NUL in id"),
        pytest.param([], id="list"),
        pytest.param("sent", id="text"),
    ],
)
def test_an_invalid_request_changes_nothing(client: TestClient, ledger: Ledger, replay: Replay, value: Any) -> None:
    reply = _send(client, value)
    assert reply.status_code == 422
    assert _is_unchanged(ledger, replay)


def test_problems_are_told_as_json_to_a_script(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    with ledger.write() as connection:
        connection.execute(versions.update().values(version=1))
    reply = client.post(RESOLVE, json=ONE, headers={**HEADERS, "Accept": "application/json"})
    assert reply.status_code == 503
    assert "whatsapp-flows ledger upgrade" in reply.json()["message"]
    with ledger.read() as connection:
        assert connection.execute(versions.select()).one().version == 1


def test_a_running_replay_is_not_resolved(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    with ledger.connect() as connection:
        held = claim(ledger, connection, replay.no, 0)
        assert held is not None
        try:
            reply = _send(client)
        finally:
            release(ledger, connection, held)
    assert reply.status_code == 409
    assert "running" in reply.json()["message"]
    assert _is_unchanged(ledger, replay)


def test_a_replay_that_starts_meanwhile_may_have_changed(
    client: TestClient, ledger: Ledger, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = a_replay(ledger, [response(number) for number in range(10, 13)], "second", chunk_size=2)
    for number, one in enumerate(end(ledger, second, [ContactState.IN_DOUBT] * 3), start=10):
        change(ledger, one, fingerprint="lost", error=_ERROR)
        attempt(ledger, f"r-{number}", Fate.UNKNOWN, second)
    monkeypatch.setattr(resolve, "claim", lambda *where: claim(*where) if where[-1] == 0 else None)
    reply = client.post(
        RESOLVE.replace("first", "second"), json={"decision": "sent", "fingerprint": "lost"}, headers=HEADERS
    )
    assert reply.status_code == 409
    assert "2 contacts were resolved before it started" in reply.json()["message"]
    assert "changed" not in reply.json()  # the page is read again
    assert states_of(ledger, second) == [PENDING, PENDING, IN_DOUBT]
