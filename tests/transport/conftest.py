"""Servers, certificates and sessions for the tests of the transport."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_whatsapp_flows.flow.exchange import HttpRequest, Reply
from airflow_whatsapp_flows.transport import Credentials, NetworkPolicy, SendPolicy, open_session, send
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
    """Send one request to a server, in a session of its own."""

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


@dataclass(frozen=True)
class Certificate:
    authorities: str
    context: ssl.SSLContext
    chain: str  # of a file with certificate and key
    certificate: str
    key: str

    def asking_for(self, client: Certificate) -> ssl.SSLContext:
        """A server that lets in only who shows the certificate of a client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain)
        context.load_verify_locations(client.authorities)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _certificate(folder: Path, name: x509.GeneralName) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    authorities = folder / "authorities.pem"
    authorities.write_bytes(pem)
    chain = folder / "chain.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(private + pem)
    alone = folder / "key.pem"
    alone.write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return Certificate(str(authorities), context, str(chain), str(authorities), str(alone))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Self-signed, for 127.0.0.1."""
    return _certificate(tmp_path_factory.mktemp("tls"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


@pytest.fixture(scope="session")
def certificate_of_another_host(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return _certificate(tmp_path_factory.mktemp("tls"), x509.DNSName("other.example"))
