"""The pages as Airflow mounts them, for users with each of its roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.ledger.conftest import ledger, ledger_url, sqlite_ledger  # noqa: F401
from tests.plugin.pages import client_of, create_tokens, mount_pages


@pytest.fixture(scope="session")
def pages_app(airflow: None) -> FastAPI:
    """An application with the pages mounted."""
    return mount_pages()


@pytest.fixture
def tokens(airflow: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A token for a user of each role."""
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "0123456789abcdef" * 4)
    from airflow.api_fastapi import app

    yield create_tokens()
    if hasattr(app, "purge_cached_app"):
        app.purge_cached_app()


@pytest.fixture
def client(pages_app: FastAPI, tokens: dict[str, str]) -> TestClient:
    """A client that is logged in as an administrator."""
    return client_of(pages_app, tokens["admin"])


@pytest.fixture
def client_as(pages_app: FastAPI, tokens: dict[str, str]) -> Callable[[str], TestClient]:
    """Return a client with a role; ``anonymous`` for none."""
    return lambda role: client_of(pages_app, tokens.get(role))


@pytest.fixture
def use_ledger(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the ledger in Airflow's configuration."""
    return lambda url: monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", url)
