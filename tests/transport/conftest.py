"""Servers, certificates, and sessions for tests of the transport."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Awaitable, Callable, Iterator

import pytest
from cryptography import x509

from airflow_whatsapp_flows.flow.request.messages import HttpRequest, Reply
from airflow_whatsapp_flows.transport import Credentials, NetworkPolicy, SendPolicy, open_session, send
from tests.servers.certificates import Certificate, make_certificate
from tests.servers.hostile import HostileServer, Script

Serve = Callable[..., HostileServer]
SendTo = Callable[..., Awaitable[Reply]]

LOOPBACK = NetworkPolicy(allowed=("127.0.0.1",))


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[HostileServer] = []

    def start(script: Script, tls: ssl.SSLContext | None = None) -> HostileServer:
        servers.append(HostileServer(script, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def send_to() -> SendTo:
    """Send one request to a server in a new session."""

    async def send_one(
        server: HostileServer,
        method: str = "POST",
        path: str = "/",
        content: bytes = b"{}",
        headers: tuple[tuple[str, str], ...] = (),
        policy: SendPolicy | None = None,
        credentials: Credentials | None = None,
        network: NetworkPolicy = LOOPBACK,
    ) -> Reply:
        async with open_session(network) as session:
            request = HttpRequest(method, server.url(path), headers, content)
            return await send(request, policy or SendPolicy(deadline=5), credentials, session=session)

    return send_one


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Self-signed, for 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("tls"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


@pytest.fixture(scope="session")
def certificate_of_another_host(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), x509.DNSName("other.example"))
