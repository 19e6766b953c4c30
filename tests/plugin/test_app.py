"""Every route asks Airflow who is there; nothing else of the application is public."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import pytest
from fastapi.testclient import TestClient

from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.plugin.app import create_app
from tests.ledger.filling import a_replay, response
from tests.plugin.pages import ROLES, client_of, mount_pages

pytestmark = pytest.mark.usefixtures("airflow")

PAGES = "/whatsapp-flows/"
PATHS = ["", "replays", "replays.part", "people?q=r-1"]
PATHS += [f"replays/first{rest}" for rest in ("", "/progress", "/results.csv", "/results.jsonl", "/contacts/r-1")]
PATHS += ["flows/lead", "flow.css"]


@pytest.fixture(autouse=True)
def full_ledger(sqlite_ledger: Ledger, use_ledger: Callable[[str], None]) -> Ledger:
    use_ledger(sqlite_ledger.display_url)
    a_replay(sqlite_ledger, [response(1)])
    return sqlite_ledger


def _routes(method: str) -> set[str]:
    routes = [(route.path, getattr(route, "methods", None) or ()) for route in create_app().routes]  # type: ignore[attr-defined]
    return {path for path, methods in routes if method in methods}


def test_only_four_routes_change_anything() -> None:
    # See test_actions.py, test_retries.py, and test_trigger.py.
    own = {f"/replays/{{replay_id}}/{verb}" for verb in ("resolve", "retry", "stop")}
    own.add("/people/erase")  # see test_erase_page.py
    assert _routes("POST") == own
    assert set.union(*map(_routes, ("PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))) == set()


def test_every_route_is_in_the_matrix_below() -> None:
    named = {"{replay_id}": "first", "{response_id}": "r-1", "{kind}": "csv", "{dag_id}": "lead"}
    paths = {reduce(lambda path, name: path.replace(*name), named.items(), path) for path in _routes("GET")}
    # In test_request_tab and test_walk_tab, where Airflow has tasks and runs.
    paths -= {"/tasks/lead/{run_id}/{task_id}/{map_index}", "/runs/lead/{run_id}"}
    paths.remove("/people/erase")  # in test_erase_page: not everybody may see it
    assert paths | {"/replays/first/results.jsonl"} == {f"/{path.partition('?')[0]}" for path in PATHS}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("path", PATHS)
def test_every_role_can_read_every_page(client_as: Callable[[str], TestClient], role: str, path: str) -> None:
    assert client_as(role).get(PAGES + path).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_rejects_anonymous_requests(client_as: Callable[[str], TestClient], path: str) -> None:
    page = client_as("anonymous").get(PAGES + path)
    assert page.status_code == 401
    assert "You are not logged in" in page.text
    assert "r-1" not in page.text


@pytest.mark.parametrize("path", PATHS)
def test_a_forged_token_is_refused(client_as: Callable[[str], TestClient], path: str) -> None:
    client = client_as("anonymous")
    client.cookies.set("_token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.")
    assert client.get(PAGES + path).status_code in (401, 403)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_only_read(client: TestClient, path: str, method: str) -> None:
    assert client.request(method, PAGES + path).status_code == 405


@pytest.mark.parametrize("path", ["docs", "redoc", "openapi.json", "static/../app.py", "static/", "nothing"])
def test_serves_no_other_path(client_as: Callable[[str], TestClient], path: str) -> None:
    assert client_as("anonymous").get(PAGES + path).status_code == 404


def test_pages_may_not_load_or_run_anything_from_elsewhere(client: TestClient) -> None:
    page = client.get(PAGES)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'self'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-store"
    assert "style=" not in page.text
    assert "<script>" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text


@pytest.mark.parametrize("name", ["theme.js", "pages.js", "pages.css", "flows.svg"])
def test_static_files_are_there_without_login(client_as: Callable[[str], TestClient], name: str) -> None:
    file = client_as("anonymous").get(f"{PAGES}static/{name}")
    assert file.status_code == 200
    assert "max-age" in file.headers["cache-control"]


def test_links_start_with_the_base_path_of_airflow(full_ledger: Ledger, tokens: dict[str, str]) -> None:
    text = client_of(mount_pages("/team/airflow"), tokens["viewer"]).get("/team/airflow/whatsapp-flows/").text
    assert 'href="/team/airflow/whatsapp-flows/replays/first"' in text
    assert 'href="/team/airflow/" data-airflow' in text
    assert 'href="/whatsapp-flows' not in text
    assert 'src="/team/airflow/whatsapp-flows/static/theme.js' in text


def test_a_parameter_out_of_range_is_refused(client: TestClient) -> None:
    assert client.get(f"{PAGES}replays?before=x").status_code == 422
    assert client.get(f"{PAGES}replays?q={'x' * 1000}").status_code == 422


@pytest.mark.parametrize("q", ["\x00", "\ud83d\ude00", "%", "_", "'; DROP TABLE whatsapp_flows_replays; --", "\u202e"])
def test_any_search_text_is_only_text(client: TestClient, q: str) -> None:
    text = q.encode("utf-16", "surrogatepass").decode("utf-16")
    for path in ("", "replays"):
        assert client.get(PAGES + path, params={"q": text}).status_code == 200
    assert client.get(f"{PAGES}replays").text.count('<td class="main">') == 1
