"""Requests through a proxy: in a tunnel, or handed over whole. TestProxy in test_exchange.py has their bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, HttpResponse, Sent, TransportFailure
from airflow_whatsapp_flows.transport import NetworkPolicy, SendPolicy, open_session, send
from tests.servers.certificates import Certificate
from tests.servers.hostile import HostileServer, Peer, Script, honest, reply
from tests.transport.conftest import Serve

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
URL = "https://127.0.0.1:9/v1?a=b"


def tunnel_to(script: Script, tls: ssl.SSLContext) -> Script:
    """A proxy that is also the server at the other end of its tunnel."""

    def accept(peer: Peer) -> None:
        peer.receive()
        peer.send(ESTABLISHED)
        with tls.wrap_socket(peer._connection, server_side=True) as connection:
            script(Peer(connection, peer._server))

    return accept


def behind(proxy: HostileServer) -> NetworkPolicy:
    scheme = "http" if proxy.tls is None else "https"
    return NetworkPolicy(allowed=("127.0.0.1",), proxy=f"{scheme}://ana:s3cret@127.0.0.1:{proxy.port}")


async def test_https_goes_through_a_tunnel_that_is_reused(serve: Serve, certificate: Certificate) -> None:
    proxy = serve(tunnel_to(honest(reply(b"safe")), certificate.context))
    policy = SendPolicy(deadline=5, verify=certificate.authorities)
    async with open_session(behind(proxy)) as session:
        for _ in range(2):
            got = await send(HttpRequest("POST", URL, (), b"x" * 100_000), policy, session=session)
            assert isinstance(got, HttpResponse), got
            assert got.content == b"safe"

    assert proxy.connections == 1
    assert [request.request_line for request in proxy.requests] == [
        "CONNECT 127.0.0.1:9 HTTP/1.1",
        "POST /v1?a=b HTTP/1.1",
        "POST /v1?a=b HTTP/1.1",
    ]
    assert proxy.requests[0].all("Proxy-Authorization") == ["Basic YW5hOnMzY3JldA=="]
    assert proxy.requests[1].all("Proxy-Authorization") == []


async def test_the_certificate_in_a_tunnel_is_that_of_the_host(
    serve: Serve, certificate_of_another_host: Certificate
) -> None:
    proxy = serve(tunnel_to(honest(reply()), certificate_of_another_host.context))
    policy = SendPolicy(deadline=5, verify=certificate_of_another_host.authorities)
    async with open_session(behind(proxy)) as session:
        got = await send(HttpRequest("POST", URL), policy, session=session)
        assert not session.connector.connections

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent, len(proxy.requests)) == (ErrorKind.TLS, Sent.NO, 1)
    assert "certificate of 127.0.0.1:9" in got.message


async def test_a_proxy_may_be_reached_by_tls(serve: Serve, certificate: Certificate) -> None:
    proxy = serve(honest(reply(b"by proxy")), certificate.context)
    policy = SendPolicy(deadline=5, verify=certificate.authorities)
    async with open_session(behind(proxy)) as session:
        got = await send(HttpRequest("POST", "http://127.0.0.1:9/v1"), policy, session=session)

    assert isinstance(got, HttpResponse), got
    assert proxy.requests[0].request_line == "POST http://127.0.0.1:9/v1 HTTP/1.1"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407", id="refused"),
        pytest.param(b"220 mail.example ESMTP\r\n\r\n", "proxy", id="no proxy"),
        pytest.param(b"", "proxy", id="closed"),
        pytest.param(ESTABLISHED + b"220 mail.example ESMTP\r\n", "127.0.0.1:9", id="no TLS in the tunnel"),
    ],
)
async def test_without_a_tunnel_nothing_is_sent(serve: Serve, answer: bytes, words: str) -> None:
    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(answer)

    proxy = serve(script)
    async with open_session(behind(proxy)) as session:
        got = await send(HttpRequest("POST", URL, (), b"x"), SendPolicy(deadline=5), session=session)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent, len(proxy.requests)) == (ErrorKind.CONNECT, Sent.NO, 1)
    assert words in got.message
    assert "s3cret" not in repr(got)


@pytest.mark.parametrize("answer", [b"", ESTABLISHED], ids=["no tunnel", "no TLS in the tunnel"])
async def test_a_tunnel_that_does_not_come_ends_in_time(serve: Serve, answer: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(answer)
        peer.wait_for_client_to_close()

    proxy = serve(script)
    async with open_session(behind(proxy)) as session:
        got = await send(HttpRequest("POST", URL), SendPolicy(connect_timeout=0.3), session=session)
        await asyncio.sleep(0.1)
        assert not session.connector.connections

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.TIMEOUT, Sent.NO)


async def test_a_proxy_that_is_down_is_named() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        network = NetworkPolicy(allowed=("127.0.0.1",), proxy=f"http://127.0.0.1:{closed.getsockname()[1]}")
        async with open_session(network) as session:
            got = await send(HttpRequest("POST", "http://crm.example/"), session=session)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.CONNECT, Sent.NO)
    assert got.message == "no connection to the proxy for crm.example:80: connection refused"


async def test_credentials_of_the_proxy_replace_those_of_a_request(serve: Serve) -> None:
    proxy = serve(honest(reply()))
    async with open_session(behind(proxy)) as session:
        await send(HttpRequest("POST", "http://127.0.0.1:9/", (("proxy-authorization", "own"),)), session=session)

    assert proxy.requests[0].all("Proxy-Authorization") == ["Basic YW5hOnMzY3JldA=="]
