"""A send that waits for its permit: its connection is open, and nothing of it is written."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import Any

import pytest

from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.transport import NetworkPolicy, Permit, SendPolicy, Session, open_session, send
from airflow_whatsapp_flows.transport import pool as pool_module
from airflow_whatsapp_flows.transport.connection import Connection
from airflow_whatsapp_flows.transport.exchange import Write
from tests.servers.hostile import HostileServer, Peer, honest, reply
from tests.transport.conftest import LOOPBACK, Serve

NEVER_ASKED = "the permit is asked for although nothing can be sent"


async def post(
    server: HostileServer, session: Session, permit: Permit | None = None, limits: SendPolicy | None = None
) -> Reply:
    request = HttpRequest("POST", server.url(), (), b"{}")
    return await send(request, limits or SendPolicy(deadline=5), session=session, permit=permit)


@pytest.fixture
def ok(serve: Serve) -> HostileServer:
    return serve(honest(reply(b"ok")))


async def test_is_asked_after_connecting_and_before_writing(ok: HostileServer) -> None:
    seen: list[tuple[int, int]] = []

    async def permit(_: Write) -> None:
        assert await asyncio.to_thread(ok.accepted.wait, 5)
        await asyncio.sleep(0.05)
        seen.append((ok.connections, len(ok.requests)))

    async with open_session(LOOPBACK) as session:
        for _ in range(2):  # the second one over the same connection
            assert isinstance(await post(ok, session, permit), HttpResponse)

    assert seen == [(1, 0), (1, 1)]


async def test_writes_in_the_step_in_which_the_permit_returns(
    ok: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    write = Connection.exchange

    def note(self: Connection, *arguments: Any) -> Any:
        steps.append("written")
        return write(self, *arguments)

    monkeypatch.setattr(Connection, "exchange", note)
    loop = asyncio.get_running_loop()
    committed, asked = loop.create_future(), asyncio.Event()

    async def permit(_: Write) -> None:
        asked.set()
        await committed

    async with open_session(LOOPBACK) as session:
        sending = loop.create_task(post(ok, session, permit))
        await asked.wait()
        committed.set_result(None)
        loop.call_soon(steps.append, "the next step")
        assert isinstance(await sending, HttpResponse)

    assert steps == ["written", "the next step"]


async def test_a_request_is_written_when_the_permit_says_so(ok: HostileServer) -> None:
    arrived: list[int] = []

    async def permit(write: Write) -> None:
        write(None)
        write(None)  # a second time does nothing
        for _ in range(500):
            if ok.requests:
                break
            await asyncio.sleep(0.01)
        arrived.append(len(ok.requests))

    async with open_session(LOOPBACK) as session:
        got = await post(ok, session, permit)

    assert isinstance(got, HttpResponse)
    assert arrived == [1]
    assert (ok.connections, len(ok.requests)) == (1, 1)


async def test_a_connection_whose_request_was_written_is_not_used_again_if_the_permit_raises(
    ok: HostileServer,
) -> None:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    async def permit(write: Write) -> None:
        write(None)
        raise LookupError

    async with open_session(LOOPBACK) as session:
        with pytest.raises(LookupError):
            await post(ok, session, permit)
        assert isinstance(await post(ok, session), HttpResponse)

    gc.collect()
    assert errors == []  # such as an exception that nobody has retrieved
    assert ok.connections == 2


async def test_the_deadline_counts_from_the_write(serve: Serve) -> None:
    server = serve(lambda peer: peer.wait_for_client_to_close())

    async def permit(write: Write) -> None:
        await asyncio.sleep(0.3)
        write(None)

    async with open_session(LOOPBACK) as session:
        got = await post(server, session, permit, SendPolicy(deadline=0.5))

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.TIMEOUT, Sent.UNKNOWN)
    assert 450 <= got.elapsed_ms < 1000


@pytest.mark.parametrize("error", [ValueError("no"), OSError("no"), asyncio.CancelledError()], ids=repr)
async def test_what_it_raises_is_raised_and_the_connection_stays_clean(ok: HostileServer, error: BaseException) -> None:
    async def refuse(_: Write) -> None:
        raise error

    async with open_session(LOOPBACK) as session:
        with pytest.raises(type(error)) as raised:
            await post(ok, session, refuse)
        assert raised.value is error
        assert ok.requests == []
        assert isinstance(await post(ok, session), HttpResponse)

    assert (ok.connections, len(ok.requests)) == (1, 1)


async def test_a_send_that_is_cancelled_while_it_waits_sends_nothing(ok: HostileServer) -> None:
    asked = asyncio.Event()

    async def permit(_: Write) -> None:
        asked.set()
        await asyncio.sleep(60)

    async with open_session(LOOPBACK) as session:
        sending = asyncio.create_task(post(ok, session, permit))
        await asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert isinstance(await post(ok, session), HttpResponse)

    assert (ok.connections, len(ok.requests)) == (1, 1)


async def test_the_deadline_does_not_count_the_wait(ok: HostileServer) -> None:
    async def permit(_: Write) -> None:
        await asyncio.sleep(1.2)

    async with open_session(LOOPBACK) as session:
        got = await post(ok, session, permit, SendPolicy(deadline=1))

    assert isinstance(got, HttpResponse)
    assert got.elapsed_ms < 1000


async def test_the_deadline_counts_before_and_after_the_wait(serve: Serve) -> None:
    server = serve(lambda peer: peer.wait_for_client_to_close())

    async def permit(_: Write) -> None:
        await asyncio.sleep(0.3)

    async with open_session(LOOPBACK) as session:
        got = await post(server, session, permit, SendPolicy(deadline=0.5))

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.TIMEOUT, Sent.UNKNOWN)
    assert 450 <= got.elapsed_ms < 1000


async def test_the_deadline_does_not_start_anew_after_the_wait(serve: Serve) -> None:
    server = serve(lambda peer: peer.wait_for_client_to_close())

    def lookup(host: str, port: int) -> list[str]:
        time.sleep(1.2)
        return ["127.0.0.1"]

    async def permit(_: Write) -> None:
        await asyncio.sleep(0)

    begun = time.monotonic()
    async with open_session(LOOPBACK, lookup=lookup) as session:
        request = HttpRequest("POST", f"http://crm.example:{server.port}/")
        got = await send(request, SendPolicy(deadline=1.5), session=session, permit=permit)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.TIMEOUT, Sent.UNKNOWN)
    assert 1.4 < time.monotonic() - begun < 2.5


@pytest.mark.parametrize("early", [b"", reply(b"early")], ids=["closed", "bytes arrive"])
@pytest.mark.parametrize("is_reused", [False, True], ids=["new connection", "reused connection"])
async def test_a_connection_that_breaks_while_it_waits_is_replaced(serve: Serve, early: bytes, is_reused: bool) -> None:
    breaks, broken, asked = threading.Event(), threading.Event(), []

    def script(peer: Peer) -> None:
        if is_reused and not broken.is_set() and peer.receive() is not None:
            peer.send(reply(b"first"))
        if not broken.is_set():
            breaks.wait(5)
            peer.send(early)
            broken.set()
            if not early:
                return  # which closes the connection
            peer.wait_for_client_to_close()
        honest(reply(b"right"))(peer)

    server = serve(script)

    async def permit(_: Write) -> None:
        asked.append(len(server.requests))
        breaks.set()
        assert await asyncio.to_thread(broken.wait, 5)
        await asyncio.sleep(0.1)

    async with open_session(LOOPBACK) as session:
        if is_reused:
            await post(server, session)
        got = await post(server, session, permit)

    assert isinstance(got, HttpResponse)
    assert got.content == b"right"
    assert asked == [1 if is_reused else 0]
    assert (server.connections, len(server.requests)) == (2, 2 if is_reused else 1)


async def test_a_connection_is_not_held_for_longer_than_it_may_be_idle(
    ok: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_IDLE_SECONDS", 0.1)

    async def permit(_: Write) -> None:
        await asyncio.sleep(0.3)

    async with open_session(LOOPBACK) as session:
        assert isinstance(await post(ok, session, permit), HttpResponse)

    assert (ok.connections, len(ok.requests)) == (2, 1)


async def test_it_is_not_asked_while_there_is_no_connection(serve: Serve) -> None:
    server = serve(lambda peer: peer.wait_for_client_to_close())

    async def permit(_: Write) -> None:
        pytest.fail(NEVER_ASKED)

    async with open_session(LOOPBACK) as session:
        request = HttpRequest("POST", f"https://127.0.0.1:{server.port}/")
        got = await send(request, SendPolicy(connect_timeout=0.3), session=session, permit=permit)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.TIMEOUT, Sent.NO)


@pytest.mark.parametrize(
    ("request_", "network"),
    [
        (HttpRequest("POST", "http://127.0.0.1:9/", (("X", "é"),)), LOOPBACK),
        (HttpRequest("POST", "http://127.0.0.1:9/"), NetworkPolicy()),
    ],
    ids=["bad header", "forbidden address"],
)
async def test_it_is_not_asked_for_a_request_that_is_refused(request_: HttpRequest, network: NetworkPolicy) -> None:
    async def permit(_: Write) -> None:
        pytest.fail(NEVER_ASKED)

    async with open_session(network) as session:
        got = await send(request_, session=session, permit=permit)

    assert isinstance(got, TransportFailure)
    assert got.sent is Sent.NO


async def test_no_second_connection_proves_that_nothing_was_sent(serve: Serve) -> None:
    """The permit is used up: the caller's intent is committed, and the failure says that nothing was sent."""
    server = serve(lambda peer: None)
    asked = []

    async def permit(_: Write) -> None:
        asked.append(True)
        await asyncio.to_thread(server.close)
        await asyncio.sleep(0.1)

    async with open_session(LOOPBACK) as session:
        got = await post(server, session, permit)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent, server.requests) == (ErrorKind.CONNECT, Sent.NO, [])
    assert len(asked) <= 1
