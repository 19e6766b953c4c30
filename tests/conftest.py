"""Fixtures of the whole suite, and a guard that allows connections to loopback only."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.airflow_runs import migrate
from tests.servers.postgres import NoPostgresError, PostgresServer, find_programs, running_postgres
from tests.servers.recording import RecordingServer

# How long an example takes, or is drawn, says more about the machine than about the test.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"

# Before anything imports Airflow: it reads these once, at import. What is exported may lead to a real Airflow.
AIRFLOW_HOME = REPOSITORY / ".pytest_cache" / "airflow" / f"home-{os.getpid()}"
for _name in [_name for _name in os.environ if _name.startswith("AIRFLOW")]:
    del os.environ[_name]
os.environ.update(
    {
        "AIRFLOW_HOME": str(AIRFLOW_HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(AIRFLOW_HOME / "no-dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_PROXY": "*",
    }
)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Show short plain data as the id of a case, instead of ``value1``."""
    if not isinstance(val, (dict, list, tuple)) or not _is_plain(val):
        return None
    shown = ascii(val)
    return shown if len(shown) <= 60 else None


def _is_plain(val: object) -> bool:
    """Whether every worker of a parallel run shows the value the same way."""
    if isinstance(val, dict):
        return all(_is_plain(part) for item in val.items() for part in item)
    if type(val) in (list, tuple):
        return all(_is_plain(item) for item in val)
    return val is None or type(val) in (str, int, float, bool)


def pytest_unconfigure() -> None:
    """Remove what the suite's Airflow wrote, and nothing else."""
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


class RefusedAddressError(AssertionError):
    """A test tried to connect to an address other than loopback."""


def _refuse_all_but_loopback(address: Any) -> None:
    if not isinstance(address, tuple) or address[0] in ("localhost", ""):
        return
    try:
        inner = ipaddress.ip_address(str(address[0]).partition("%")[0])
    except ValueError:
        raise RefusedAddressError(f"tests talk to loopback only, not to {address[0]!r}") from None
    inner = getattr(inner, "ipv4_mapped", None) or inner
    if not inner.is_loopback:
        raise RefusedAddressError(f"tests talk to loopback only, not to {address[0]!r}")


@pytest.fixture(autouse=True, scope="session")
def _only_loopback() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    for name in ("connect", "connect_ex", "sendto"):
        original = getattr(socket.socket, name)

        def guard(self: socket.socket, *arguments: Any, _original: Any = original) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                _refuse_all_but_loopback(arguments[-1])
            return _original(self, *arguments)

        patch.setattr(socket.socket, name, guard)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def naughty_strings() -> list[str]:
    """Texts that break software (the Big List of Naughty Strings)."""
    import json

    file = SHARED / "vectors" / "blns.json"
    if not file.exists():
        pytest.skip("the list of naughty strings is not beside the checkout")
    return [str(text) for text in json.loads(file.read_text(encoding="utf-8"))]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingServer]:
    """A recording server; the connection ``crm`` leads to it, and its address is allowed."""
    recording = RecordingServer()
    monkeypatch.setenv("AIRFLOW_CONN_CRM", recording.url)
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS", recording.host)
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__MEDIA_HOSTS", recording.host)
    yield recording
    recording.close()


@pytest.fixture(scope="session")
def airflow() -> None:
    """A real Airflow with its own database."""
    migrate()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A private PostgreSQL; ``create_database()`` gives a test one of its own."""
    try:
        find_programs()
    except NoPostgresError as missing:
        pytest.skip(str(missing))
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """SQLAlchemy's URL of a database that the whole session shares."""
    return postgres.create_database()
