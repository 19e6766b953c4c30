"""A server process of the demo CRM on a free loopback port."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

DOCKER = Path(__file__).resolve().parents[2] / "docker"
sys.path.insert(0, str(DOCKER))

from demo_crm.process import running  # noqa: E402


@pytest.fixture(scope="session")
def crm_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests; each uses phone numbers and keys of its own."""
    with running(tmp_path_factory.mktemp("crm") / "crm.db") as url:
        yield url


@pytest.fixture
def crm(crm_url: str) -> Iterator[httpx.Client]:
    """A client of that server, with all switches off and an empty log."""
    # The server closes idle connections after 5 seconds; a client that kept one as long could use it just then.
    limits = httpx.Limits(keepalive_expiry=2)
    with httpx.Client(base_url=crm_url, trust_env=False, timeout=20, limits=limits) as client:
        client.delete("/_switches")
        client.delete("/_requests")
        yield client
        client.delete("/_switches")
