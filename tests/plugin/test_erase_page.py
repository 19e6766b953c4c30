"""A person is erased from the pages: with permission for all their flows, as ``ledger purge`` does, and recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.claims import claim, release
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.plugin import access
from tests.ledger.filling import FLOW_ID, a_replay, attempt, attempts_of, end, response, result, rows_of
from tests.plugin.pages import HOSTILE, text_of

pytestmark = pytest.mark.usefixtures("airflow")

PEOPLE = "/whatsapp-flows/people"
ERASE = f"{PEOPLE}/erase"
HEADERS = {"X-WhatsApp-Flows": "1"}
PHONE = "+52 55 0000 0001"
ASKED = {"q": PHONE, "kind": "phone"}
QUERY = "?q=%2B52+55+0000+0001"
ORIGIN = '{"dag_id": "other", "run_id": "manual__1", "task_id": "create", "map_index": -1, "try_number": 1}'


@pytest.fixture
def replay(ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]) -> Replay:
    """A replay and a run of another DAG sent something to one person, and the replay to another."""
    use_ledger(ledger_url)
    found = a_replay(ledger, [response(1), response(2)])
    end(ledger, found, [ContactState.COMPLETED, ContactState.FAILED])
    attempt(ledger, "r-1", Fate.SUCCEEDED, found, result=result({"name": "Ana"}), status_code=201)
    attempt(ledger, "r-2", Fate.ANSWERED, found, result=result("no"))
    attempt(
        ledger, "run-1", Fate.SUCCEEDED, phone="+525500000001", flow_id="other", result=result("yes"), origin=ORIGIN
    )
    return found


def _send(client: TestClient, value: Any = ASKED, **more: Any) -> Any:
    return client.post(ERASE, json=value, headers={**HEADERS, **more})


def _is_unchanged(ledger: Ledger, replay: Replay) -> bool:
    return rows_of(ledger, replay)[0].response is not None and attempts_of(ledger, "run-1")[0].result is not None


def test_the_page_says_what_is_erased_and_what_remains(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    assert f'href="{ERASE}{QUERY}"' in client.get(f"{PEOPLE}{QUERY}").text
    page = client.get(f"{ERASE}{QUERY}")
    text = " ".join(text_of(page).split())
    assert page.status_code == 200
    assert "as a phone number" in text
    assert "1Contact 2Requests" in text
    assert f"In 2 flows: {FLOW_ID}, other" in text
    assert "Ids of responses, keys, states, times" in text
    assert "Erase for good" in text
    assert _is_unchanged(ledger, replay)


def test_erases_and_shows_what_remains(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    reply = _send(client)
    assert reply.status_code == 200, reply.text
    done = reply.json()
    assert "Erased: 1 contact and 2 requests" in done["message"]
    first, second = rows_of(ledger, replay)
    assert (first.response, first.phone, first.reason, first.state) == (None, None, "purged", "completed")
    assert second.response is not None
    assert [attempts_of(ledger, one)[0].result for one in ("r-1", "run-1")] == [None, None]
    remains = client.get(done["link"])
    text = text_of(remains)
    assert "What remains of an erased person" in text
    assert "erased by admin" in text
    assert ">r-1</a>" in remains.text
    assert "run-1" in text
    assert "r-2" not in text
    assert "Nothing was sent" in client.get(f"{PEOPLE}{QUERY}").text
    assert client.get(f"{ERASE}{QUERY}").status_code == _send(client).status_code == 404
    assert "Erasedby admin" in text_of(client.get("/whatsapp-flows/replays/first/contacts/r-1"))


def test_the_ledger_and_the_audit_log_record_who_erased(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        last = session.scalar(select(func.max(Log.id))) or 0
    assert _send(client).status_code == 200
    for response_id, others in (("r-1", {}), ("run-1", json.loads(ORIGIN))):
        origin = json.loads(attempts_of(ledger, response_id)[0].origin)
        noted = origin.pop("erased")
        assert (origin, noted["by"], noted["at"] > 1.7e9) == (others, "admin", True)
    with create_session() as session:
        entries = session.scalars(select(Log).where(Log.id > last, Log.event == "erase_person")).all()
        assert sorted((entry.owner, entry.dag_id) for entry in entries) == [("admin", FLOW_ID), ("admin", "other")]
        assert json.loads(entries[0].extra) == {"contacts": 1, "requests": 2, "method": "POST"}


@pytest.mark.parametrize(
    ("role", "status"), [("anonymous", 401), ("viewer", 403), ("user", 200), ("op", 200), ("admin", 200)]
)
def test_needs_permission_to_edit(
    client_as: Callable[[str], TestClient], ledger: Ledger, replay: Replay, role: str, status: int
) -> None:
    client = client_as(role)
    assert ("Erase this person" in client.get(f"{PEOPLE}{QUERY}").text) is (status == 200)
    assert client.get(f"{ERASE}{QUERY}").status_code == status
    assert _send(client).status_code == status
    assert _is_unchanged(ledger, replay) is (status != 200)


@pytest.mark.parametrize("sees_other", [True, False])
def test_says_for_which_flows_permission_is_missing(
    client: TestClient, ledger: Ledger, replay: Replay, monkeypatch: pytest.MonkeyPatch, sees_other: bool
) -> None:
    def is_authorized(user: Any, dag_id: str, team: str | None, method: str = "GET") -> bool:
        return dag_id == FLOW_ID or (sees_other and method == "GET")

    monkeypatch.setattr(access, "_is_authorized", is_authorized)
    missing = "You may not edit: other." if sees_other else "You may not edit: DAGs that you may not read."
    for reply in (client.get(f"{ERASE}{QUERY}"), _send(client)):
        assert reply.status_code == 403
        assert missing in text_of(reply)
    assert _is_unchanged(ledger, replay)


def test_who_may_read_no_flow_of_a_person_learns_nothing(
    client: TestClient, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_is_authorized", lambda user, dag_id, *_: dag_id not in (FLOW_ID, "other"))
    replies = [(_send(client, {**ASKED, "q": q}).status_code, q) for q in (PHONE, "+52 55 0000 0009")]
    assert [status for status, _ in replies] == [404, 404]
    assert "Erase this person" not in client.get(f"{PEOPLE}{QUERY}").text


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [
        pytest.param("application/json", {}, id="no-header-of-ours"),
        pytest.param("application/x-www-form-urlencoded", HEADERS, id="a-form"),
        pytest.param("text/plain", HEADERS, id="a-form-as-text"),
        pytest.param("application/json", {**HEADERS, "Sec-Fetch-Site": "cross-site"}, id="another-site"),
    ],
)
def test_another_site_cannot_erase(
    client: TestClient, ledger: Ledger, replay: Replay, content_type: str, headers: dict[str, str]
) -> None:
    reply = client.post(ERASE, content=json.dumps(ASKED), headers={**headers, "Content-Type": content_type})
    assert reply.status_code == 403
    assert _is_unchanged(ledger, replay)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"q": PHONE}, id="no-kind"),
        pytest.param({"q": PHONE, "kind": "name"}, id="another-kind"),
        pytest.param({"q": "", "kind": "phone"}, id="no-identifier"),
        pytest.param({"q": "x" * 201, "kind": "id"}, id="too-long"),
        pytest.param([], id="a-list"),
    ],
)
def test_an_invalid_request_erases_nothing(client: TestClient, ledger: Ledger, replay: Replay, value: Any) -> None:
    assert _send(client, value).status_code == 422
    assert _is_unchanged(ledger, replay)


def test_nothing_is_erased_while_a_replay_sends_to_the_person(
    client: TestClient, ledger: Ledger, replay: Replay
) -> None:
    later = a_replay(ledger, [response(1)], "later", force=True)
    with ledger.connect() as connection:
        claimed = claim(ledger, connection, later.no, 0)
        assert claimed is not None
        page, reply = client.get(f"{ERASE}{QUERY}"), _send(client)
        release(ledger, connection, claimed)
    assert reply.status_code == 409
    for one in (page, reply):
        assert "pending in a replay that is running: later. Let it finish, or stop it." in text_of(one)
    assert "Erase for good" not in page.text
    assert _is_unchanged(ledger, replay)


def test_pending_contacts_keep_their_data_and_the_page_says_so(
    client: TestClient, ledger: Ledger, replay: Replay
) -> None:
    a_replay(ledger, [response(1)], "later", force=True)
    kept = "2 contacts keep their data, because the response is pending in later"
    assert kept in text_of(client.get(f"{ERASE}{QUERY}"))
    done = _send(client).json()
    assert "Erased: 0 contacts and 1 request" in done["message"]
    assert kept in done["message"]
    assert rows_of(ledger, replay)[0].response is not None


def test_whose_data_is_meant_is_asked_if_an_identifier_has_several_meanings(
    client: TestClient, ledger: Ledger, replay: Replay
) -> None:
    for number, key in enumerate(("id", "user_id"), start=5):
        attempt(ledger, f"run-{number}", Fate.SUCCEEDED, result=result("x"), identifiers=((key, "77"),))
    page = client.get(f"{ERASE}?q=77")
    assert "Choose whose data to erase" in page.text
    assert "Erase for good" not in page.text
    assert f'href="{ERASE}?q=77&amp;kind=user_id"' in page.text
    assert "Erase for good" in client.get(f"{ERASE}?q=77&kind=user_id").text
    assert _send(client, {"q": "77", "kind": "user_id"}).status_code == 200
    assert [attempts_of(ledger, f"run-{number}")[0].result is None for number in (5, 6)] == [False, True]


@pytest.mark.parametrize("query", ["", "?q=", "?q=nobody", "?q=%00", "?q=r-1"])
def test_who_is_not_in_the_ledger_cannot_be_erased(client: TestClient, replay: Replay, query: str) -> None:
    assert client.get(f"{ERASE}{query}").status_code == 404


def test_texts_are_shown_as_text(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    attempt(
        ledger,
        HOSTILE + "x" * 1000,
        Fate.SUCCEEDED,
        flow_id=HOSTILE,
        result=result("x"),
        identifiers=(("id", HOSTILE),),
        origin=ORIGIN,
    )
    page = client.get(ERASE, params={"q": HOSTILE})
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert len(page.content) < 20_000
    done = _send(client, {"q": HOSTILE, "kind": "id"})
    assert done.status_code == 200
    assert len(done.content) < 20_000
