"""The checked address is the connected address. The resolver is a stub, and only 127.0.0.x is connected to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.transport import NetworkPolicy, SendPolicy, open_session, send
from tests.servers.hostile import HostileServer, honest, reply
from tests.transport.conftest import Serve


class StubResolver:
    """Returns the next answer at each call, and repeats the last one."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


async def get(url: str, lookup: StubResolver, network: NetworkPolicy) -> Reply:
    async with open_session(network, lookup=lookup) as session:
        return await send(HttpRequest("GET", url), SendPolicy(deadline=5), session=session)


@pytest.fixture
def ok(serve: Serve) -> HostileServer:
    return serve(honest(reply(b"ok")))


async def test_connects_to_the_checked_address(ok: HostileServer) -> None:
    lookup = StubResolver(["127.0.0.1"])
    got = await get(f"http://crm.example:{ok.port}/", lookup, NetworkPolicy(allowed=("127.0.0.1",)))

    assert isinstance(got, HttpResponse)
    assert ok.requests[0].all("Host") == [f"crm.example:{ok.port}"]
    assert lookup.asked == [("crm.example", ok.port)]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["169.254.169.254"],
        ["10.0.0.5"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%lo"],
    ],
    ids=lambda addresses: ",".join(addresses),
)
async def test_a_refused_address_is_never_connected_to(ok: HostileServer, addresses: list[str]) -> None:
    got = await get(f"http://crm.example:{ok.port}/", StubResolver(addresses), NetworkPolicy())

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent, ok.connections) == (ErrorKind.POLICY, Sent.NO, 0)
    assert str(ip_address(addresses[-1])) in got.message
    assert "allowed_hosts" in got.message


async def test_a_name_that_changes_its_address_is_checked_again(ok: HostileServer) -> None:
    lookup = StubResolver(["127.0.0.1"], ["127.0.0.2"])
    network = NetworkPolicy(allowed=("127.0.0.1",))
    url = f"http://crm.example:{ok.port}/"

    assert isinstance(await get(url, lookup, network), HttpResponse)
    second = await get(url, lookup, network)

    assert isinstance(second, TransportFailure)
    assert second.kind is ErrorKind.POLICY


async def test_one_lookup_serves_one_connection(ok: HostileServer) -> None:
    """A second answer, given between judging and connecting, would be the rebinding attack."""
    lookup = StubResolver(["127.0.0.1"], ["127.0.0.2"])
    await get(f"http://crm.example:{ok.port}/", lookup, NetworkPolicy(allowed=("127.0.0.1",)))

    assert len(lookup.asked) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f000001"])
async def test_addresses_in_urls_are_checked_without_a_resolver(ok: HostileServer, host: str) -> None:
    lookup = StubResolver(["127.0.0.1"])
    got = await get(f"http://{host}:{ok.port}/", lookup, NetworkPolicy())

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent, ok.connections, lookup.asked) == (ErrorKind.POLICY, Sent.NO, 0, [])


@pytest.mark.parametrize("answer", [[], None], ids=["empty", "raises"])
async def test_a_name_without_an_address_is_not_found(answer: list[str] | None) -> None:
    def lookup(host: str, port: int) -> Sequence[str]:
        if answer is None:
            raise UnicodeError("label too long")
        return answer

    async with open_session(lookup=lookup) as session:
        got = await send(HttpRequest("GET", "http://crm.example/"), session=session)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.CONNECT, Sent.NO)


def test_a_hanging_lookup_ends_with_the_deadline() -> None:
    hanging = threading.Event()

    def lookup(host: str, port: int) -> Sequence[str]:
        hanging.wait(10)
        return []

    async def send_once() -> Reply:
        async with open_session(lookup=lookup) as session:
            return await send(HttpRequest("GET", "http://crm.example/"), SendPolicy(deadline=0.3), session=session)

    begun = time.monotonic()
    got = asyncio.run(send_once())
    took = time.monotonic() - begun
    hanging.set()

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.TIMEOUT, Sent.NO)
    assert took < 2


async def test_connections_opened_at_once_share_a_lookup(ok: HostileServer) -> None:
    lookup = StubResolver(["127.0.0.1"], ["127.0.0.2"])
    async with open_session(NetworkPolicy(allowed=("127.0.0.1",)), lookup=lookup) as session:
        request = HttpRequest("GET", f"http://crm.example:{ok.port}/")
        first = asyncio.create_task(send(request, session=session))
        await asyncio.sleep(0)
        first.cancel()  # which does not cancel the lookup of the others
        replies = await asyncio.gather(*(send(request, session=session) for _ in range(20)))

    assert [type(one) for one in replies] == [HttpResponse] * 20
    assert len(lookup.asked) == 1


async def test_a_failed_lookup_is_repeated(ok: HostileServer) -> None:
    lookup = StubResolver([], ["127.0.0.1"])
    async with open_session(NetworkPolicy(allowed=("127.0.0.1",)), lookup=lookup) as session:
        request = HttpRequest("GET", f"http://crm.example:{ok.port}/")
        failed, found = await send(request, session=session), await send(request, session=session)

    assert isinstance(failed, TransportFailure)
    assert failed.kind is ErrorKind.CONNECT
    assert isinstance(found, HttpResponse)


async def test_a_trailing_dot_is_for_the_resolver_only(ok: HostileServer) -> None:
    lookup = StubResolver(["127.0.0.1"])
    await get(f"http://crm.example.:{ok.port}/", lookup, NetworkPolicy(allowed=("127.0.0.1",)))

    assert lookup.asked == [("crm.example.", ok.port)]
    assert ok.requests[0].all("Host") == [f"crm.example:{ok.port}"]
