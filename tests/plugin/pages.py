"""The pages as Airflow mounts them, clients of them, and what tests read in them; also for benchmarks.

Nothing of Airflow is imported before it is used, so that a benchmark can configure Airflow first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

ROLES = ("viewer", "user", "op", "admin")
HOSTILE = "\"'><script>alert(1)</script>\u202e\x01"
_MOST_PAGES = 10


def mount_pages(root_path: str = "") -> FastAPI:
    """An application with the pages mounted, as the API server does."""
    from fastapi import FastAPI

    from airflow_whatsapp_flows.dag_names import PAGES
    from airflow_whatsapp_flows.plugin import LazyApp

    outer = FastAPI(root_path=root_path)
    outer.mount(PAGES, LazyApp())
    return outer


def create_tokens() -> dict[str, str]:
    """A token for a user of each role; Airflow's auth manager is created for them."""
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    manager: Any = create_auth_manager()
    users = {role: SimpleAuthManagerUser(username=role, role=role) for role in ROLES}
    return {role: manager.generate_jwt(user, expiration_time_in_seconds=3600) for role, user in users.items()}


def client_of(app: FastAPI, token: str | None) -> TestClient:
    """A client that is logged in as a browser is: by a cookie."""
    from fastapi.testclient import TestClient

    found = TestClient(app, base_url="http://airflow.example", follow_redirects=False)
    if token is not None:
        found.cookies.set("_token", token)
    return found


def text_of(page: Any) -> str:
    """The text of a page, without its tags."""
    return unescape(re.sub(r"<[^>]+>", "", page.text))


def follow_next(client: TestClient, path: str, label: str = "Next") -> Iterator[Any]:
    """A page, and those that follow it."""
    for _ in range(_MOST_PAGES):
        page = client.get(path)
        yield page
        following = re.search(rf'href="([^"]+)">{label}</a>', page.text)
        if following is None:
            return
        path = unescape(following[1])
    raise AssertionError(f"more than {_MOST_PAGES} pages")
