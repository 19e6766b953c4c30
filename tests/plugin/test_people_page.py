"""The page of one person shows what was sent for them, by flows that the user may read, masked."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.schema import identifiers
from airflow_whatsapp_flows.plugin import access, people_page
from tests.ledger.filling import FLOW_ID, a_replay, attempt, response, result
from tests.plugin.pages import HOSTILE, follow_next, text_of

pytestmark = pytest.mark.usefixtures("airflow")

PAGE = "/whatsapp-flows/people"
PHONE = "%2B52+1+55+0000+0001"
ORIGIN = '{"dag_id":"other","run_id":"manual__1","task_id":"create","try_number":1}'


@pytest.fixture
def history(ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]) -> Ledger:
    use_ledger(ledger_url)
    replay = a_replay(ledger, [response(1), response(2)], "a/b")
    refused = result({"error": "call +525512345678"}, outcome="error", status_code=422)
    attempt(ledger, "r-1", Fate.ANSWERED, replay, status_code=422, result=refused, begun_at=910.0)
    attempt(ledger, "r-2", Fate.SUCCEEDED, replay)
    attempt(ledger, "run-1", None, phone="+525500000001", flow_id="other", begun_at=920.0, origin=ORIGIN)
    return ledger


def test_shows_what_was_sent_newest_first(client: TestClient, history: Ledger) -> None:
    page = client.get(f"{PAGE}?q={PHONE}")
    assert page.status_code == 200
    assert page.text.index("run-1") < page.text.index(">r-1<")
    assert 'href="/dags/other/runs/manual__1" data-airflow' in page.text
    assert 'href="/whatsapp-flows/replays/a~2Fb/contacts/r-1"' in page.text
    text = text_of(page)
    assert "POST crm:443 · 422" in text
    assert [one.split()[0] for one in re.findall(r'data-name="Arrived">([^<]*)', page.text)] == ["unknown", "yes"]
    assert "<h1>+52…01</h1>" in page.text
    assert '"error":"call +52…78"' in text
    assert "r-2" not in text
    assert 'href="/whatsapp-flows/tasks/other/manual__1/create/-1"' in page.text
    assert all(f'data-name="{name}"' in page.text for name in ("Sent", "Flow", "Request", "Arrived", "Response"))
    assert "+525500000001" not in page.text  # only as it was typed


def test_only_requests_of_flows_that_the_user_may_read_are_shown(
    client: TestClient, history: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_is_authorized", lambda user, dag_id, *_: dag_id != FLOW_ID)
    page = client.get(f"{PAGE}?q={PHONE}")
    assert "run-1" in page.text
    assert "r-1" not in page.text.replace("run-1", "")
    assert "Nothing was sent" in client.get(f"{PAGE}?q=r-1").text


def test_a_person_of_many_flows_is_not_looked_for_in_those_that_the_user_may_not_read(
    client: TestClient, history: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [{"kind": "email", "value": "eve@example.com", "flow_id": f"f-{n}", "response_id": "e"} for n in range(600)]
    with history.write() as connection:
        connection.execute(insert(identifiers), known)
    attempt(history, "e", Fate.SUCCEEDED, flow_id="f-3")
    assert ">e<" in client.get(f"{PAGE}?q=EVE@example.com").text
    asked: list[object] = []
    find = people_page.find_sending_flows
    monkeypatch.setattr(access, "_is_authorized", lambda user, dag_id, *_: not dag_id.startswith("f-"))
    monkeypatch.setattr(people_page, "find_sending_flows", lambda ledger, to: asked.append(to) or find(ledger, to))
    page = client.get(f"{PAGE}?q=EVE@example.com")
    assert page.status_code == 200
    assert "Nothing was sent" in page.text
    assert [list(to.person.identifiers) for to in asked] == [[]]  # type: ignore[attr-defined]


def test_requests_are_paged(client: TestClient, history: Ledger) -> None:
    for number in range(1, 121):
        attempt(
            history, "many", Fate.SUCCEEDED, number=number, step=f"Step {number:03}", begun_at=1000.25 + number // 9
        )
    pages = [page.text for page in follow_next(client, f"{PAGE}?q=many", "Older")]
    assert len(pages) == 3
    assert all(sum(f"Step {number:03}" in page for page in pages) == 1 for number in range(1, 121))


@pytest.mark.parametrize("query", ["", "?q=", "?q=nobody", "?q=%00", "?q=r-1&before=901.0_1"])
def test_without_requests_the_page_says_what_to_enter(client: TestClient, history: Ledger, query: str) -> None:
    page = client.get(f"{PAGE}{query}")
    assert page.status_code == 200
    assert 'class="note"' in page.text


@pytest.mark.parametrize("before", ["x", "1_", "1_99999999999999999999", "_1", "nan_1", "1e400_1"])
def test_a_wrong_place_is_refused(client: TestClient, history: Ledger, before: str) -> None:
    assert client.get(f"{PAGE}?q=r-1&before={before}").status_code == 422


def test_texts_are_shown_as_text(client: TestClient, history: Ledger) -> None:
    long = HOSTILE + "x" * 1_000_000
    attempt(history, "odd", Fate.ANSWERED, step=HOSTILE, host=long, method=long, flow_id=HOSTILE, origin=ORIGIN)
    page = client.get(f"{PAGE}?q=odd")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text
    assert len(page.content) < 20_000
