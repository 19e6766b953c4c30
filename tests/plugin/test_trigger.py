"""A replay is resumed and stopped from its page: by runs of the replay DAG, with Airflow's own permissions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.claims import claim, release
from airflow_whatsapp_flows.ledger.holds import hold_after
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.schema import replays
from tests.ledger.filling import FLOW_ID, a_replay, change, end, response, rows_of
from tests.plugin.pages import text_of
from tests.plugin.test_retries import DAG_ID, FAILED, HEADERS, PAGE, RETRY, _runs, _set_dag, _set_runs, dag  # noqa: F401

pytestmark = pytest.mark.usefixtures("airflow", "dag")

STOP = f"{PAGE}/stop"
RESUME = {"state": "pending"}


@pytest.fixture
def stopped_replay(ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]) -> Replay:
    """A replay that was stopped: one contact completed, and two are pending."""
    use_ledger(ledger_url)
    found = a_replay(ledger, [response(number) for number in range(3)])
    end(ledger, found, [ContactState.COMPLETED])
    with ledger.write() as connection:
        connection.execute(update(replays).values(started_at=1000.0, ended_at=1010.0))
    return found


def buttons(client: TestClient, path: str = PAGE) -> list[str]:
    return re.findall(r'<button[^>]* data-dialog="[^>]*>([^<]*) …<', client.get(path).text)


def test_a_run_resumes_what_is_pending(client: TestClient, stopped_replay: Replay) -> None:
    assert buttons(client) == ["Resume"]
    before = len(_runs())
    done = client.post(RETRY, json=RESUME, headers=HEADERS)
    assert done.status_code == 200, done.text
    [(_, state, _, user, conf, note)] = _runs()[before:]
    assert (state, user, note) == ("queued", "admin", "Resume (started by admin on the page of the replay)")
    assert conf == {"retry_of": "first", "states": ["pending"], "note": note}
    assert buttons(client, done.json()["page"]) == ["Stop"]


@pytest.mark.parametrize("selection", [{"response_id": "r-1"}, {"fingerprint": "f"}])
def test_what_is_pending_is_resumed_together(
    client: TestClient, stopped_replay: Replay, selection: dict[str, str]
) -> None:
    assert client.post(RETRY, json={**RESUME, **selection}, headers=HEADERS).status_code == 422


def test_a_replay_that_a_process_sends_is_not_resumed(
    client: TestClient, ledger: Ledger, stopped_replay: Replay
) -> None:
    with ledger.connect() as connection:
        claimed = claim(ledger, connection, stopped_replay.no, 0)
        assert claimed is not None
        assert buttons(client) == []
        reply, stop = (client.post(path, json=RESUME, headers=HEADERS) for path in (RETRY, STOP))
        release(ledger, connection, claimed)
    assert (reply.status_code, "The replay is running" in reply.text) == (409, True)
    assert (stop.status_code, "It was started on the command line" in text_of(stop)) == (409, True)


def test_what_its_own_run_still_sends_is_not_resumed(
    client: TestClient, ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]
) -> None:
    use_ledger(ledger_url)
    a_replay(ledger, [response(1)], "other")
    run_id = client.post(RETRY.replace("first", "other"), json=RESUME, headers=HEADERS).json()["message"].split()[-1]
    own = f"{FLOW_ID}__{run_id.rstrip('.')}"
    a_replay(ledger, [response(2)], own)
    path = PAGE.replace("first", own.replace("+", "%2B"))
    reply = client.post(f"{path}/retry", json=RESUME, headers=HEADERS)
    assert reply.status_code == 409
    assert "has not ended: it sends what is pending" in text_of(reply)
    assert buttons(client, path) == ["Stop"]
    _set_runs(state="failed")
    assert buttons(client, path) == ["Resume"]


def test_handled_errors_are_retried(client: TestClient, ledger: Ledger, stopped_replay: Replay) -> None:
    error = '{"step": "Create", "kind": "status", "status_code": 422, "host": "crm:443", "message": "no"}'
    change(ledger, rows_of(ledger, stopped_replay)[0].id, handled_errors=1, fingerprint="f-0", error=error)
    assert {"Retry all handled errors", "Retry handled errors"} <= set(buttons(client))
    assert buttons(client, f"{PAGE}/contacts/r-0") == ["Retry its handled errors"]
    asked = {"state": "handled", "fingerprint": "f-0"}
    assert client.post(RETRY, json=asked, headers=HEADERS).status_code == 200
    conf = _runs()[-1][4]
    assert (conf["retry_of"], conf["handled"], conf["fingerprint"], "states" in conf) == ("first", True, "f-0", False)


def test_stops_the_run_and_notes_who(client: TestClient, stopped_replay: Replay) -> None:
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    client.post(RETRY, json=RESUME, headers=HEADERS)
    reply = client.post(STOP, json={}, headers=HEADERS)
    assert reply.status_code == 200, reply.text
    run_id, state, *_ = _runs()[-1]
    assert (state, reply.json()["changed"], run_id in reply.json()["message"]) == ("failed", True, True)
    with create_session() as session:
        [entry] = session.scalars(select(Log).where(Log.run_id == run_id, Log.event == "patch_dag_run")).all()
        assert (entry.owner, entry.dag_id) == ("admin", DAG_ID)
    again = client.post(STOP, json={}, headers=HEADERS)
    assert (again.status_code, "It does not run" in text_of(again)) == (409, True)
    assert buttons(client) == ["Resume"]


def test_other_runs_of_the_dag_are_not_stopped(client: TestClient, stopped_replay: Replay) -> None:
    client.post(RETRY, json=RESUME, headers=HEADERS)
    _set_runs(conf={"retry_of": "other"})
    assert buttons(client) == ["Resume"]
    assert client.post(STOP, json={}, headers=HEADERS).status_code == 409
    assert _runs()[-1][1] == "queued"


@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("user", 200), ("op", 200), ("admin", 200), ("anonymous", 401)]
)
def test_stopping_needs_permission_for_the_runs(
    client: TestClient, client_as: Callable[[str], TestClient], stopped_replay: Replay, role: str, status: int
) -> None:
    assert client.post(RETRY, json=RESUME, headers=HEADERS).status_code == 200
    assert buttons(client_as(role)) == (["Stop"] if status == 200 else [])
    assert client_as(role).post(STOP, json={}, headers=HEADERS).status_code == status
    assert (_runs()[-1][1] == "failed") is (status == 200)


@pytest.mark.parametrize("headers", [{}, {**HEADERS, "Sec-Fetch-Site": "cross-site"}], ids=["no-header", "other-site"])
def test_another_site_stops_nothing(client: TestClient, stopped_replay: Replay, headers: dict[str, Any]) -> None:
    client.post(RETRY, json=RESUME, headers=HEADERS)
    assert client.post(STOP, json={}, headers=headers).status_code == 403
    assert _runs()[-1][1] == "queued"


def test_without_a_dag_that_runs_nothing_is_resumed(client: TestClient, stopped_replay: Replay) -> None:
    _set_dag(is_paused=True)
    assert buttons(client) == []
    assert client.post(RETRY, json=RESUME, headers=HEADERS).status_code == 409
    assert client.post(RETRY, json=FAILED, headers=HEADERS).status_code == 409


def test_contacts_that_are_held_are_not_resumed(client: TestClient, ledger: Ledger, stopped_replay: Replay) -> None:
    hold_after(ledger, stopped_replay.no, "canary", 1)
    assert buttons(client) == []
    reply = client.post(RETRY, json=RESUME, headers=HEADERS)
    assert (reply.status_code, "Contacts are held" in text_of(reply)) == (409, True)
