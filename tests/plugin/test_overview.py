"""The navigation page in every condition of the ledger, of flow files, and of the user."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from airflow_whatsapp_flows import build_dag
from airflow_whatsapp_flows.dag_factory.replay_dag import build_replay_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.schema import replays, versions
from airflow_whatsapp_flows.plugin import access, overview
from airflow_whatsapp_flows.plugin.airflow_tables import FlowDag, count_runs
from tests.ledger.filling import FLOW_ID, a_replay, end, response
from tests.plugin.pages import HOSTILE

pytestmark = pytest.mark.usefixtures("airflow")

PAGES = "/whatsapp-flows/"
STATES = [ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT]


@pytest.fixture
def full_ledger(ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]) -> Ledger:
    use_ledger(ledger_url)
    end(ledger, a_replay(ledger, [response(number) for number in range(4)]), STATES)
    return ledger


@pytest.fixture
def flows(airflow: None) -> Iterator[None]:
    """Two flows, one with a scheduled replay, in Airflow's database."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    from tests.airflow_runs import _sync_to_database

    step = {"name": "Create", "type": "action", "url": "https://crm.example/x"}
    first = {"flow_format": 1, "id": "lead", "name": "Leads & co", "steps": [step], "replay": {"schedule": "@daily"}}
    second = {"flow_format": 1, "id": "zeta", "steps": [step]}
    _sync_to_database(build_dag(first))
    _sync_to_database(build_replay_dag(load_flow(first)))
    _sync_to_database(build_dag(second))
    with create_session() as session:
        session.query(DagModel).update({"is_stale": False, "is_paused": False})
    yield
    with create_session() as session:
        session.query(DagModel).update({"is_stale": True})


@pytest.fixture
def import_error(airflow: None) -> Iterator[Callable[[str], None]]:
    """Add an import error to Airflow's database."""
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session

    def add(text: str) -> None:
        with create_session() as session:
            session.add(ParseImportError(filename="health.py", bundle_name="dags-folder", stacktrace=text))

    yield add
    with create_session() as session:
        session.query(ParseImportError).delete()


def test_shows_the_last_replays_with_their_states(client: TestClient, full_ledger: Ledger) -> None:
    page = client.get(PAGES)
    assert page.status_code == 200
    assert "4 contacts" in page.text
    assert "1 failed" in page.text
    assert "1 in doubt" in page.text
    assert 'href="/whatsapp-flows/replays/first"' in page.text
    assert 'data-refresh="/whatsapp-flows/replays.part"' in page.text  # a contact is pending


def _hide_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_is_authorized", lambda user, dag_id, *_: dag_id != FLOW_ID)


def test_only_the_replays_of_flows_that_the_user_may_read_are_shown(
    client: TestClient, full_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hide_lead(monkeypatch)
    for path in (PAGES, f"{PAGES}replays", f"{PAGES}replays.part"):
        page = client.get(path)
        assert page.status_code == 200
        assert "first" not in page.text.partition("<tbody>")[2], path


def test_newer_replays_of_hidden_flows_hide_no_other(
    client: TestClient, full_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(flow_id="zeta"))
    for number in range(60):
        a_replay(full_ledger, [], f"hidden {number}")
    _hide_lead(monkeypatch)
    for path in ("", "replays", "replays.part", "replays?q=f"):
        page = client.get(f"{PAGES}{path}").text
        assert 'href="/whatsapp-flows/replays/first"' in page, path
        assert "hidden" not in page.replace("aria-hidden", "").partition("<tbody>")[2].partition("</tbody>")[0], path
        assert "Older" not in page, path
    assert "Older" not in client.get(f"{PAGES}replays?q=hidden").text


def test_hidden_flows_are_no_pages_of_the_list(
    client: TestClient, full_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dags(limit: int, after: str = "", text: str = "") -> list[FlowDag]:
        ids = [f"a{number}" for number in range(7)] + ["b", "c"]
        return [FlowDag(id_, id_, False, False, None, None, None, None) for id_ in ids if id_ > after][:limit]

    monkeypatch.setattr("airflow_whatsapp_flows.plugin.overview.flow_dags", dags)
    monkeypatch.setattr("airflow_whatsapp_flows.plugin.overview._FLOWS", 2)
    readable = {"a1", "b"}
    monkeypatch.setattr(access, "_is_authorized", lambda user, dag_id, *_: dag_id in readable)
    page = client.get(PAGES).text
    assert 'href="/dags/a1"' in page
    assert 'href="/dags/b"' in page
    assert "Next</a>" not in page
    readable.add("c")
    assert "after=b" in client.get(PAGES).text


def test_refreshing_ends_with_the_last_contact(client: TestClient, full_ledger: Ledger) -> None:
    running = client.get(f"{PAGES}replays.part")
    assert "data-ended" not in running.text
    assert client.get(PAGES).text.count("data-refresh") == 1
    end(
        full_ledger,
        a_replay(full_ledger, [response(number) for number in range(4, 8)], "second"),
        [ContactState.COMPLETED] * 4,
    )
    with full_ledger.write() as connection:
        connection.execute(replays.delete().where(replays.c.id == "first"))
    assert "data-ended" in client.get(f"{PAGES}replays.part").text
    assert "data-refresh" not in client.get(PAGES).text


def test_a_stopped_replay_is_not_asked_for_again(client: TestClient, full_ledger: Ledger) -> None:
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(started_at=900.0, ended_at=1000.0))
    assert "Stopped" in client.get(PAGES).text
    assert "data-refresh" not in client.get(PAGES).text
    assert "data-ended" in client.get(f"{PAGES}replays.part").text


def test_replays_are_searched_and_paged(client: TestClient, full_ledger: Ledger) -> None:
    for number in range(60):
        a_replay(full_ledger, [], f"batch 100%_{number}")
    first = client.get(f"{PAGES}replays")
    assert first.text.count('<td class="main">') == 50
    older = first.text.partition('aria-label="Pages"')[2].split('href="')[1].split('"')[0].replace("&amp;", "&")
    assert client.get(older).text.count('<td class="main">') == 11
    found = client.get(f"{PAGES}replays", params={"q": "100%_7"})
    assert found.text.count('<td class="main">') == 1
    assert "No replays match" in client.get(f"{PAGES}replays", params={"q": "nothing"}).text


def test_every_text_is_escaped(client: TestClient, full_ledger: Ledger) -> None:
    a_replay(full_ledger, [response(9)], HOSTILE)
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(note=HOSTILE + "x" * 1_000_000))
    typed = quote(HOSTILE[:-2])  # a field keeps the controls that somebody typed
    for path in (PAGES, f"{PAGES}replays", f"{PAGES}replays?q={typed}", f"{PAGES}?q={typed}"):
        page = client.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "\u202e" not in page.text
        assert "\x01" not in page.text
        assert len(page.content) < 200_000


def test_no_ledger_yet_says_what_to_do_first(
    client: TestClient, use_ledger: Callable[[str], None], tmp_path: Path
) -> None:
    file = tmp_path / "none.db"
    use_ledger(f"sqlite:///{file}")
    page = client.get(PAGES)
    assert page.status_code == 200
    assert "Nothing was sent yet" in page.text
    assert "whatsapp-flows replay run" in page.text
    assert not file.exists()
    assert client.get(f"{PAGES}replays").status_code == 404


def test_an_empty_ledger_says_how_to_replay(
    client: TestClient, ledger: Ledger, ledger_url: str, use_ledger: Any
) -> None:
    use_ledger(ledger_url)
    assert "No replays yet" in client.get(PAGES).text


def test_an_older_ledger_is_named_and_not_upgraded(
    client: TestClient, ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]
) -> None:
    with ledger.write() as connection:
        connection.execute(versions.update().values(version=1))
    use_ledger(ledger_url)
    page = client.get(PAGES)
    assert page.status_code == 200
    assert "whatsapp-flows ledger upgrade" in page.text
    assert client.get(f"{PAGES}replays").status_code == 503
    with ledger.read() as connection:
        assert connection.execute(versions.select()).one().version == 1


def test_a_locked_file_is_reported_without_waiting_for_a_minute(
    client: TestClient, sqlite_ledger: Ledger, use_ledger: Callable[[str], None]
) -> None:
    file = sqlite_ledger.file
    assert file is not None
    sqlite_ledger.close()
    use_ledger(f"sqlite:///{file}")
    holder = sqlite3.connect(file, isolation_level=None)
    try:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        page = client.get(PAGES)
    finally:
        holder.close()
    assert page.status_code == 200
    assert "database is locked" in page.text


def test_a_server_that_is_gone_is_reported_without_its_password(
    client: TestClient, use_ledger: Callable[[str], None]
) -> None:
    use_ledger("postgresql://ana:s3cret-canary@127.0.0.1:1/ledger")
    page = client.get(PAGES)
    assert page.status_code == 200
    assert "The ledger cannot be read" in page.text
    assert "s3cret-canary" not in page.text
    assert "s3cret-canary" not in client.get(f"{PAGES}replays").text


def test_shows_each_flow_with_its_state_and_next_replay(client: TestClient, flows: None, full_ledger: Ledger) -> None:
    def search(words: str) -> str:  # the first page may be full of the DAGs of other tests
        return client.get(PAGES, params={"q": words}).text.partition('id="flows"')[2]

    text = search("leads &")
    assert "Leads &amp; co" in text
    assert 'href="/dags/lead__replay"' not in text
    assert 'href="/whatsapp-flows/replays/first"' in text
    assert text.count("<time") >= 2  # the last replay, and the next one
    assert "zeta" not in text
    assert 'href="/dags/zeta"' in search("zeta")
    assert "No flows match" in client.get(PAGES, params={"q": "nothing"}).text


def test_a_flow_has_a_chart_of_its_last_week(
    client: TestClient,
    flows: None,
    ledger: Ledger,
    ledger_url: str,
    use_ledger: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_ledger(ledger_url)
    runs = {"lead": [(2, 0), *[(0, 0)] * 6]}
    monkeypatch.setattr(overview, "count_runs", lambda ids, times: runs if len(times) == 8 else {})
    replay = a_replay(ledger, [response(number) for number in range(4)])
    end(ledger, replay, STATES, at=time.time() - 3600)
    with ledger.write() as connection:
        connection.execute(update(replays).values(started_at=time.time() - 3700, ended_at=time.time() - 3600))
    text = client.get(PAGES, params={"q": "leads &"}).text.partition('id="flows"')[2]
    assert text.count('<svg class="chart"') == 1
    assert ">5 · 40 % errors<" in text
    assert ">24 h: 3 · 67 %<" in text
    assert '<svg class="chart"' not in client.get(PAGES, params={"q": "zeta"}).text


def test_counts_the_ended_runs_of_dags_between_times(airflow: None) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType

    start = dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc)
    days = [(0, "success"), (0, "failed"), (1, "success"), (1, "running"), (2, "success")]
    with create_session() as session:
        for number, (day, state) in enumerate(days):
            after = start + dt.timedelta(days=day, hours=1)
            session.add(DagRun("week", f"run-{number}", run_after=after, run_type=DagRunType.MANUAL, state=state))
    times = [start.timestamp() + 86_400 * day for day in range(3)]
    assert count_runs(["week", "none"], times) == {"week": [(1, 1), (1, 0)]}
    assert count_runs(["none"], times) == count_runs([], times) == {}


def test_faults_of_flow_files_come_with_their_line(
    client: TestClient,
    import_error: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    (tmp_path / "offer.json").write_text('{"flow_format": 1,\n "nextt": "s3cret"}')
    outside = tmp_path.parent / "outside.json"
    outside.write_text('{"line": "not for this page"}')
    import_error(
        "Traceback (most recent call last):\n  File x\n"
        f"airflow_whatsapp_flows.errors.FlowFileError: {tmp_path}/offer.json:2:2: unknown key 'nextt' <b>\n"
        f"{outside}:1:2: elsewhere\n{tmp_path}/gone.json:1:1: gone"
    )
    import_error("Traceback …\nModuleNotFoundError: of another DAG file")
    text = client.get(PAGES).text
    assert "unknown key &#39;nextt&#39; &lt;b&gt;" in text
    assert f"{tmp_path}/offer.json:2:2" in text
    assert "^^^^^^^" in text
    assert "not for this page" not in text
    assert f"{tmp_path}/gone.json:1:1" in text
    assert "ModuleNotFoundError" not in text


def test_only_files_of_shown_faults_are_read_each_once(
    client: TestClient, import_error: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    files = [tmp_path / f"offer_{number}.json" for number in range(15)]
    for file in files:
        file.write_text('{"flow_format": 1,\n "nextt": "x", "stepss": []}')
    lines = [f"{file}:2:{column}: unknown key {column}" for file in files for column in (2, 16)]
    import_error("airflow_whatsapp_flows.errors.FlowFileError: " + "\n".join(lines))
    read: list[str] = []
    original = overview.read_flow_text
    monkeypatch.setattr(overview, "read_flow_text", lambda path: read.append(path.name) or original(path))
    text = client.get(PAGES).text
    assert text.count("^^^^^^^") == 20
    assert "10 more faults" in text
    assert sorted(read) == sorted(file.name for file in files[:10])


def test_faults_are_shown_only_to_who_may_see_import_errors(
    client: TestClient, import_error: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_error("airflow_whatsapp_flows.errors.FlowFileError: /flows/offer.json:2:2: unknown key")
    assert "unknown key" in client.get(PAGES).text
    monkeypatch.setattr("airflow_whatsapp_flows.plugin.overview.may_see_import_errors", lambda user: False)
    assert "unknown key" not in client.get(PAGES).text
