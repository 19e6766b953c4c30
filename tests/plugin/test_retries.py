"""Contacts are retried from the pages: by a run of the replay DAG, with permission, and as ``replay retry`` does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from airflow_whatsapp_flows.dag_factory.replay_dag import build_replay_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.claims import claim, release
from airflow_whatsapp_flows.ledger.replays import Replay, find_replay
from airflow_whatsapp_flows.ledger.schema import replays
from airflow_whatsapp_flows.plugin import access
from tests.airflow_runs import _sync_to_database, run_dag
from tests.ledger.filling import FLOW, FLOW_ID, a_replay, change, end, response, states_of
from tests.operators.flows import action, flow, write_responses
from tests.plugin.pages import client_of, mount_pages, text_of
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

PAGE = "/whatsapp-flows/replays/first"
RETRY = f"{PAGE}/retry"
DAG_ID = f"{FLOW_ID}__replay"
HEADERS = {"X-WhatsApp-Flows": "1"}
FAILED = {"state": "failed"}
STATES = [ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT, ContactState.FAILED]


def _error(step: str = "Create") -> str:
    return json.dumps({"step": step, "kind": "status", "status_code": 422, "host": "crm:443", "message": "no"})


@pytest.fixture
def replay(ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]) -> Replay:
    """Four contacts: one completed, one in doubt, and two failed, each with another error."""
    use_ledger(ledger_url)
    found = a_replay(ledger, [response(number) for number in range(4)])
    ids = end(ledger, found, STATES)
    for number in (1, 2, 3):
        change(ledger, ids[number], fingerprint=f"f-{number}", error=_error())
    return found


def _set_dag(**values: Any) -> None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(DagModel).filter(DagModel.dag_id == DAG_ID).update(values)


@pytest.fixture
def dag(airflow: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The replay DAG, as Airflow stores it."""
    monkeypatch.setenv("AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL", "0")
    _sync_to_database(build_replay_dag(load_flow(FLOW)))
    _set_dag(is_stale=False, is_paused=False, has_import_errors=False)
    _set_runs(state="success")
    yield
    _set_dag(is_stale=True)


def _set_runs(**values: Any) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(DagRun).filter(DagRun.dag_id == DAG_ID).update(values)


def _runs() -> list[Any]:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.scalars(select(DagRun).where(DagRun.dag_id == DAG_ID).order_by(DagRun.id)).all()
        return [
            (row.run_id, str(row.state), str(row.run_type), row.triggering_user_name, row.conf, row.note)
            for row in rows
        ]


@pytest.mark.parametrize(
    ("asked", "selected"),
    [
        pytest.param(FAILED, {"states": ["failed"]}, id="all"),
        pytest.param({**FAILED, "fingerprint": "f-1"}, {"states": ["failed"], "fingerprint": "f-1"}, id="group"),
        pytest.param({**FAILED, "response_id": "r-1"}, {"states": ["failed"], "responses": ["r-1"]}, id="contact"),
        pytest.param({"state": "in_doubt"}, {"states": ["in_doubt"]}, id="in-doubt"),
    ],
)
@pytest.mark.usefixtures("replay", "dag")
def test_starts_a_run_with_the_selection(client: TestClient, asked: dict[str, str], selected: dict[str, Any]) -> None:
    before = len(_runs())
    reply = client.post(RETRY, json={**asked, "reason": "the CRM is back"}, headers=HEADERS)
    assert reply.status_code == 200, reply.text
    [(run_id, state, run_type, user, conf, note)] = _runs()[before:]
    assert (state, run_type, user) == ("queued", "manual", "admin")
    assert note == "the CRM is back (started by admin on the page of the replay)"
    assert conf == {"retry_of": "first", **selected, "note": note}
    done = reply.json()
    assert done["changed"] is True
    assert run_id in done["message"]
    assert done["link"].startswith(f"/dags/{DAG_ID}/runs/manual__")
    page = client.get(done["page"])
    assert f'href="{done["link"]}" data-airflow' in page.text
    assert 'data-refresh="/whatsapp-flows/replays/first/progress?run=manual__' in page.text
    assert "queued: the CRM is back (started by admin" in page.text


@pytest.mark.usefixtures("replay", "dag")
def test_the_run_is_in_airflows_audit_log(client: TestClient) -> None:
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    assert client.post(RETRY, json=FAILED, headers=HEADERS).status_code == 200
    run_id = _runs()[-1][0]
    with create_session() as session:
        [entry] = session.scalars(select(Log).where(Log.run_id == run_id, Log.event == "trigger_dag_run")).all()
        assert (entry.owner, entry.dag_id) == ("admin", DAG_ID)
        assert '"retry_of": "first"' in entry.extra


@pytest.mark.usefixtures("replay", "dag")
def test_links_start_with_the_base_path_of_airflow(tokens: dict[str, str]) -> None:
    client = client_of(mount_pages("/team/airflow"), tokens["admin"])
    done = client.post(f"/team/airflow{RETRY}", json=FAILED, headers=HEADERS).json()
    assert done["link"].startswith(f"/team/airflow/dags/{DAG_ID}/runs/")
    assert done["page"].startswith("/team/airflow/whatsapp-flows/replays/first?run=")


@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("user", 200), ("op", 200), ("admin", 200), ("anonymous", 401)]
)
@pytest.mark.usefixtures("replay", "dag")
def test_needs_permission_to_trigger_the_dag(client_as: Callable[[str], TestClient], role: str, status: int) -> None:
    before = len(_runs())
    assert client_as(role).post(RETRY, json=FAILED, headers=HEADERS).status_code == status
    assert len(_runs()) - before == (status == 200)
    page = client_as(role).get(PAGE)
    assert ("Retry this group" in page.text) == ("Retry all that failed" in page.text) == (status == 200)
    if status != 401:
        assert "whatsapp-flows replay retry" in page.text


@pytest.mark.usefixtures("replay", "dag")
def test_a_hidden_replay_is_not_retried(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_is_authorized", lambda user, dag_id, *_: dag_id != FLOW_ID)
    before = len(_runs())
    assert client.post(RETRY, json=FAILED, headers=HEADERS).status_code == 404
    assert len(_runs()) == before


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no-header"),
        pytest.param({**HEADERS, "Sec-Fetch-Site": "cross-site"}, id="another-site"),
        pytest.param({**HEADERS, "Content-Type": "text/plain"}, id="a-form"),
    ],
)
@pytest.mark.usefixtures("replay", "dag")
def test_a_request_from_another_site_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    before = len(_runs())
    content = json.dumps(FAILED)
    reply = client.post(RETRY, content=content, headers={"Content-Type": "application/json", **headers})
    assert reply.status_code == 403
    assert len(_runs()) == before


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({}, id="no-state"),
        pytest.param({"state": "completed"}, id="another-state"),
        pytest.param({**FAILED, "fingerprint": "f-1", "response_id": "r-1"}, id="both-selections"),
        pytest.param({**FAILED, "response_id": "r\0"}, id="NUL"),
        pytest.param({**FAILED, "fingerprint": "f 1"}, id="no-fingerprint"),
        pytest.param({**FAILED, "reason": "x" * 501}, id="long-reason"),
        pytest.param([], id="a-list"),
    ],
)
@pytest.mark.usefixtures("replay", "dag")
def test_an_invalid_request_starts_nothing(client: TestClient, asked: Any) -> None:
    before = len(_runs())
    assert client.post(RETRY, json=asked, headers=HEADERS).status_code == 422
    assert len(_runs()) == before


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"is_stale": True}, f"Airflow has no DAG {DAG_ID}", id="no-dag"),
        pytest.param({"is_paused": True}, f"The DAG {DAG_ID} is paused", id="paused"),
        pytest.param({"has_import_errors": True}, f"The DAG file of {DAG_ID} has import errors", id="broken"),
    ],
)
@pytest.mark.usefixtures("replay", "dag")
def test_without_a_dag_that_runs_the_page_says_so(client: TestClient, values: dict[str, Any], said: str) -> None:
    _set_dag(**values)
    before = len(_runs())
    for path in (PAGE, f"{PAGE}/contacts/r-1"):
        shown = text_of(client.get(path))
        assert said in shown
        assert "Retry this" not in shown
    assert "whatsapp-flows replay retry --fingerprint f-1 first" in text_of(client.get(PAGE))
    reply = client.post(RETRY, json=FAILED, headers={**HEADERS, "Accept": "application/json"})
    assert reply.status_code == 409
    assert said in reply.json()["message"]
    assert len(_runs()) == before


@pytest.mark.usefixtures("replay", "dag")
def test_a_dag_without_the_fields_of_a_retry_is_not_run(client: TestClient) -> None:
    from airflow.sdk import DAG

    with DAG(DAG_ID, params={"source": ""}) as stand_in:
        pass
    _sync_to_database(stand_in)
    before = len(_runs())
    reply = client.post(RETRY, json=FAILED, headers=HEADERS)
    assert reply.status_code == 409
    assert "its flow file has faults" in reply.text
    assert len(_runs()) == before


@pytest.mark.usefixtures("dag")
def test_a_replay_that_reads_its_source_is_not_retried(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    with ledger.write() as connection:
        connection.execute(replays.update().values(sealed=False))
    reply = client.post(RETRY, json=FAILED, headers=HEADERS)
    assert reply.status_code == 409
    assert "has not been read completely" in reply.text


@pytest.mark.usefixtures("dag")
def test_a_replay_that_is_running_is_not_retried(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    with ledger.connect() as connection:
        claimed = claim(ledger, connection, replay.no, 0)
        assert claimed is not None
        before = len(_runs())
        reply = client.post(RETRY, json=FAILED, headers=HEADERS)
        release(ledger, connection, claimed)
    assert (reply.status_code, len(_runs())) == (409, before)
    assert "The replay is running" in reply.text
    assert client.post(RETRY, json=FAILED, headers=HEADERS).status_code == 200


@pytest.mark.usefixtures("replay", "dag")
def test_a_second_retry_waits_for_the_first(client: TestClient) -> None:
    with ThreadPoolExecutor() as pool:
        replies = list(pool.map(lambda _: client.post(RETRY, json=FAILED, headers=HEADERS), range(3)))
    assert sorted(reply.status_code for reply in replies) == [200, 409, 409]
    assert "already retries contacts of this replay" in next(r.text for r in replies if r.status_code == 409)


@pytest.mark.usefixtures("replay", "dag")
def test_a_run_that_retries_another_replay_is_not_shown(client: TestClient) -> None:
    page = client.post(RETRY, json=FAILED, headers=HEADERS).json()["page"]
    assert "retries contacts" in client.get(page).text
    _set_runs(conf={"retry_of": "other"})
    assert "retries contacts" not in client.get(page).text


@pytest.mark.usefixtures("dag")
def test_only_what_can_be_sent_again_has_a_button(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    def buttons(path: str) -> list[str]:
        return re.findall(r'<button[^>]* data-dialog="[^>]*>(Retry [^<]*) …<', client.get(f"{PAGE}{path}").text)

    assert buttons("") == ["Retry all that failed", "Retry this group", "Retry this group"]
    assert buttons("/contacts/r-1") == ["Retry this contact"]
    assert buttons("/contacts/r-0") == buttons("/contacts/r-2") == []  # a POST in doubt is not repeated
    retry = {"delivery": "idempotent"}
    keyed = json.dumps({**FLOW, "steps": [{**FLOW["steps"][0], **retry}, *FLOW["steps"][1:]]})
    with ledger.write() as connection:
        connection.execute(replays.update().values(flow=keyed))
    assert buttons("/contacts/r-2") == ["Retry this contact"]
    assert {"Retry all in doubt", "Retry those in doubt"} <= set(buttons(""))


@pytest.mark.parametrize(
    ("state", "said", "is_live"),
    [
        ("queued", "it waits for Airflow, or for another run of this DAG", True),
        ("running", "it is running", True),
        ("failed", "it has failed", False),
    ],
)
@pytest.mark.usefixtures("replay", "dag")
def test_the_page_follows_the_run(client: TestClient, state: str, said: str, is_live: bool) -> None:
    page = client.post(RETRY, json=FAILED, headers=HEADERS).json()["page"]
    _set_runs(state=state)
    part = client.get(page.replace("first?", "first/progress?"))
    assert said in part.text
    assert ("data-ended" in part.text) is not is_live
    assert ("data-refresh" in client.get(page).text) is is_live
    assert "retries contacts" not in client.get(f"{PAGE}?run=nothing%00").text


def test_a_retried_group_completes(
    client: TestClient,
    ledger: Ledger,
    ledger_url: str,
    use_ledger: Callable[[str], None],
    server: RecordingServer,
    tmp_path: Path,
) -> None:
    use_ledger(ledger_url)
    server._script = lambda request: Answer(422 if b"0001" in request.content else 201)
    source = str(write_responses(tmp_path, 3))
    body = {"phone": "{{ contact.phone }}"}
    replaying = build_replay_dag(load_flow(flow(action("Create", body=body), id=FLOW_ID, replay={"source": source})))
    replay_id = f"{FLOW_ID}__{run_dag(replaying).run_id}"
    _set_dag(is_stale=False, is_paused=False)
    replay = find_replay(ledger, replay_id)
    assert replay is not None
    assert states_of(ledger, replay) == ["completed", "failed", "completed"]
    [error] = {row.fingerprint for row in _errors(ledger, replay)}
    server._script = lambda request: Answer(201)
    before = len(server.received)
    page = f"/whatsapp-flows/replays/{quote(replay_id, safe='')}"
    reply = client.post(f"{page}/retry", json={**FAILED, "fingerprint": error}, headers=HEADERS)
    assert reply.status_code == 200, reply.text
    retry = run_dag(replaying, _runs()[-1][4])
    assert retry.state == "success"
    assert states_of(ledger, replay) == ["completed"] * 3
    assert len(server.received) == before + 1
    shown = text_of(client.get(page))
    assert f"Retried by{retry.run_id} success" in shown
    _set_dag(is_stale=True)


def _errors(ledger: Ledger, replay: Replay) -> list[Any]:
    from airflow_whatsapp_flows.ledger.groups import error_groups

    return list(error_groups(ledger, replay))
