"""The pages as Airflow mounts them, for users with each of its roles."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from airflow_whatsapp_flows.plugin import PREFIX, LazyApp
from tests.ledger.conftest import ledger, ledger_url, sqlite_ledger  # noqa: F401

Get = Callable[..., Any]


@pytest.fixture(scope="session")
def pages_app(airflow: None) -> FastAPI:
    """An application with the pages mounted, as the API server does."""
    outer = FastAPI(root_path="")
    outer.mount(PREFIX, LazyApp())
    return outer


@pytest.fixture
def tokens(airflow: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A token for a user of each role."""
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "0123456789abcdef" * 4)
    from airflow.api_fastapi import app
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    manager: Any = app.create_auth_manager()
    assert isinstance(manager, SimpleAuthManager)
    hour = int(dt.timedelta(hours=1).total_seconds())
    yield {
        role: manager.generate_jwt(SimpleAuthManagerUser(username=role, role=role), expiration_time_in_seconds=hour)
        for role in ("viewer", "user", "op", "admin")
    }
    app.purge_cached_app() if hasattr(app, "purge_cached_app") else None


@pytest.fixture
def client(pages_app: FastAPI, tokens: dict[str, str]) -> TestClient:
    """A client that is logged in as an administrator, as a browser is: by a cookie."""
    return client_of(pages_app, tokens["admin"])


@pytest.fixture
def client_as(pages_app: FastAPI, tokens: dict[str, str]) -> Callable[[str], TestClient]:
    """Return a client with a role; ``anonymous`` for none."""
    return lambda role: client_of(pages_app, tokens.get(role))


def client_of(app: FastAPI, token: str | None) -> TestClient:
    found = TestClient(app, base_url="http://airflow.example", follow_redirects=False)
    if token is not None:
        found.cookies.set("_token", token)
    return found


@pytest.fixture
def use_ledger(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the ledger in Airflow's configuration."""
    return lambda url: monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", url)
