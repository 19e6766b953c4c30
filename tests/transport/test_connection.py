"""Connections: which are reused, what ends them, and that none is left."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time

import pytest

from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, HttpResponse, Sent, TransportFailure
from airflow_whatsapp_flows.transport import NetworkPolicy, SendPolicy, open_session, send
from airflow_whatsapp_flows.transport import pool as pool_module
from airflow_whatsapp_flows.transport.connection import Connection
from airflow_whatsapp_flows.transport.connector import Connector, Route
from airflow_whatsapp_flows.transport.request_head import Target
from tests.servers.certificates import Certificate
from tests.servers.hostile import HostileServer, Peer, after_request, honest, reply
from tests.transport.conftest import LOOPBACK, Serve


@pytest.fixture
def ok(serve: Serve) -> HostileServer:
    return serve(honest(reply(b"ok")))


def post(server: HostileServer, content: bytes = b"{}") -> HttpRequest:
    return HttpRequest("POST", server.url(), (), content)


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        pytest.param(reply(b"ok"), 1, id="clean"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 1, id="no content"),
        pytest.param(b"HTTP/1.1 103 Early\r\n\r\n" + reply(b"ok"), 1, id="interim reply"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1, id="chunked"),
        pytest.param(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 1, id="1.0 that stays"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 3, id="1.0"),
        pytest.param(reply(b"ok", "200 OK", "Connection: close"), 3, id="told to close"),
        pytest.param(reply(b"ok") + b"x", 3, id="one byte more"),
        pytest.param(reply(b"ok") + reply(b"two"), 3, id="two replies"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n0", 3, id="content after 204"),
    ],
)
async def test_a_connection_is_reused_if_its_reply_ended_cleanly(serve: Serve, answer: bytes, connections: int) -> None:
    server = serve(honest(answer))
    async with open_session(LOOPBACK) as session:
        for _ in range(3):
            got = await send(post(server), session=session)
            assert isinstance(got, HttpResponse)
            assert got.content in (b"", b"ok")

    assert (server.connections, len(server.requests)) == (connections, 3)


async def test_the_reply_to_head_may_be_followed_by_another_request(serve: Serve) -> None:
    server = serve(honest(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"))
    async with open_session(LOOPBACK) as session:
        for _ in range(2):
            assert isinstance(await send(HttpRequest("HEAD", server.url()), session=session), HttpResponse)

    assert server.connections == 1


async def test_an_idle_connection_is_closed_in_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_IDLE_SECONDS", 0.1)
    closed = threading.Event()

    def script(peer: Peer) -> None:
        honest(reply(b"ok"))(peer)
        closed.set()

    server = serve(script)
    async with open_session(LOOPBACK) as session:
        await send(post(server), session=session)
        assert await asyncio.to_thread(closed.wait, 5)
        assert isinstance(await send(post(server), session=session), HttpResponse)

    assert server.connections == 2


async def test_a_connection_that_outlived_its_idle_time_is_not_reused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_IDLE_SECONDS", 0.1)
    server = serve(honest(reply(b"ok")))
    async with open_session(LOOPBACK) as session:
        await send(post(server), session=session)
        time.sleep(0.3)  # noqa: ASYNC251 - holds the event loop, and with it the timer that closes connections
        assert isinstance(await send(post(server), session=session), HttpResponse)

    assert server.connections == 2


async def test_requests_with_other_tls_settings_share_no_connection(serve: Serve, certificate: Certificate) -> None:
    server = serve(honest(reply(b"ok")), certificate.context)
    async with open_session(LOOPBACK) as session:
        unverified = await send(post(server), SendPolicy(verify=False), session=session)
        refused = await send(post(server), SendPolicy(verify=True), session=session)

    assert isinstance(unverified, HttpResponse)
    assert isinstance(refused, TransportFailure)
    assert refused.kind is ErrorKind.TLS


async def test_what_a_server_sends_on_connecting_is_its_reply(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that has no room: it replies before it has read a request."""
    connect = Connector.open

    async def connect_and_wait(self: Connector, route: Route, target: Target) -> Connection:
        connection = await connect(self, route, target)
        await asyncio.to_thread(sent.wait, 5)
        await asyncio.sleep(0.1)
        return connection

    monkeypatch.setattr(Connector, "open", connect_and_wait)

    def script(peer: Peer) -> None:
        peer.send(reply(b"full", "503 Service Unavailable"))
        sent.set()
        peer.wait_for_client_to_close()

    sent = threading.Event()
    server = serve(script)
    async with open_session(LOOPBACK) as session:
        got = await send(post(server), session=session)

    assert isinstance(got, HttpResponse)
    assert (got.status_code, got.content) == (503, b"full")


async def test_a_slow_reader_gets_a_large_request_to_its_end(serve: Serve) -> None:
    content = bytes(range(256)) * 40_000

    def script(peer: Peer) -> None:
        peer.closing.wait(0.3)
        honest(reply(b"ok"))(peer)

    server = serve(script)
    async with open_session(LOOPBACK) as session:
        assert isinstance(await send(post(server, content), session=session), HttpResponse)

    assert [request.content for request in server.requests] == [content]


async def test_a_reply_before_the_end_of_the_request_ends_the_connection(serve: Serve) -> None:
    """What is left of the request must not be read as the next one."""

    def script(peer: Peer) -> None:
        peer.await_data()
        peer.send(reply(b"too much", "413 Content Too Large"))
        peer.closing.wait(0.2)
        peer.wait_for_client_to_close()

    server = serve(script)
    async with open_session(LOOPBACK) as session:
        for _ in range(2):
            got = await send(post(server, b"x" * 30_000_000), session=session)
            assert isinstance(got, HttpResponse)
            assert got.status_code == 413

    assert server.connections == 2


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
async def test_a_cancelled_send_closes_its_connection(serve: Serve, certificate: Certificate, is_tls: bool) -> None:
    received, closed = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.receive()
        received.set()
        peer.wait_for_client_to_close()
        closed.set()

    server = serve(script, certificate.context if is_tls else None)
    async with open_session(LOOPBACK) as session:
        sending = asyncio.create_task(send(post(server), SendPolicy(verify=certificate.authorities), session=session))
        assert await asyncio.to_thread(received.wait, 5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await asyncio.to_thread(closed.wait, 5)


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
async def test_a_closed_session_leaves_no_connection_and_no_task(
    serve: Serve, certificate: Certificate, is_tls: bool
) -> None:
    server = serve(honest(reply(b"ok")), certificate.context if is_tls else None)
    silent = serve(lambda peer: peer.wait_for_client_to_close())
    async with open_session(LOOPBACK) as session:
        policy = SendPolicy(verify=certificate.authorities)
        assert isinstance(await send(post(server), policy, session=session), HttpResponse)
        unanswered = asyncio.create_task(send(post(silent), session=session))
        handshake = HttpRequest("GET", f"https://127.0.0.1:{silent.port}/")
        connecting = asyncio.create_task(send(handshake, session=session))
        await asyncio.sleep(0.2)
        connections = session.connector.connections
        assert len(connections) == 2
    assert not connections
    failures = await asyncio.gather(unanswered, connecting)

    assert [(type(one), one.sent) for one in failures if isinstance(one, TransportFailure)] == [
        (TransportFailure, Sent.UNKNOWN),
        (TransportFailure, Sent.NO),
    ]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_lack_of_file_descriptors_is_not_the_servers(ok: HostileServer) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    async with open_session(LOOPBACK) as session:
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
        try:
            got = await send(post(ok), session=session)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert isinstance(await send(post(ok), session=session), HttpResponse)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent, got.is_local) == (ErrorKind.CONNECT, Sent.NO, True)


async def test_another_address_is_tried_if_one_refuses(ok: HostileServer) -> None:
    network = NetworkPolicy(allowed=("127.0.0.1", "127.0.0.3"))
    async with open_session(network, lookup=lambda host, port: ["127.0.0.3", "127.0.0.1"]) as session:
        got = await send(HttpRequest("GET", f"http://crm.example:{ok.port}/"), session=session)

    assert isinstance(got, HttpResponse)


def test_tls_works_in_the_event_loop_of_uvloop(serve: Serve, certificate: Certificate) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop has no release for this system")
    server = serve(honest(reply(b"safe")), certificate.context)

    async def post_twice() -> list[object]:
        async with open_session(LOOPBACK) as session:
            policy = SendPolicy(deadline=5, verify=certificate.authorities)
            content = b"x" * 3_000_000
            return [await send(post(server, content), policy, session=session) for _ in range(2)]

    got = uvloop.run(post_twice())

    assert [one.content for one in got if isinstance(one, HttpResponse)] == [b"safe"] * 2, got
    assert server.connections == 1


async def test_the_end_of_tls_without_notice_ends_content_without_a_length(
    serve: Serve, certificate: Certificate
) -> None:
    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        peer.closing.wait(0.1)
        peer._connection.shutdown(socket.SHUT_RDWR)  # of the socket below, without close_notify

    server = serve(script, certificate.context)
    async with open_session(LOOPBACK) as session:
        got = await send(post(server), SendPolicy(deadline=5, verify=certificate.authorities), session=session)

    assert isinstance(got, HttpResponse)
    assert got.content == b"all of it"


async def test_a_server_that_closes_behind_its_reply_has_replied(serve: Serve) -> None:
    server = serve(after_request(reply(b"ok")))
    async with open_session(LOOPBACK) as session:
        for _ in range(3):
            got = await send(post(server), session=session)
            assert isinstance(got, HttpResponse)
            await asyncio.sleep(0.05)

    assert len(server.requests) == 3
