"""Requests and replies without failures."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, HttpResponse, Sent, TransportFailure
from airflow_whatsapp_flows.transport import Credentials, NetworkPolicy, SendPolicy, open_session, send, send_blocking
from tests.servers.hostile import HostileServer, Peer, honest, reply
from tests.transport.conftest import LOOPBACK, SendTo, Serve


@pytest.fixture
def ok(serve: Serve) -> HostileServer:
    return serve(honest(reply(b'{"id":7}', "201 Created", "Content-Type: application/json", "x-ODD-Case: caf\xe9")))


async def test_returns_a_complete_reply(ok: HostileServer, send_to: SendTo) -> None:
    got = await send_to(ok)

    assert isinstance(got, HttpResponse)
    assert (got.status_code, got.reason, got.content) == (201, "Created", b'{"id":7}')
    assert got.headers == (("Content-Type", "application/json"), ("x-ODD-Case", "café"), ("Content-Length", "8"))
    assert 0 <= got.elapsed_ms < 5000


async def test_sends_exactly_the_request(ok: HostileServer, send_to: SendTo) -> None:
    await send_to(ok, "POST", "/v1/x?a=%2B52&b=+", b"a=1", (("X-Twice", "1"), ("X-Twice", "2")))

    (request,) = ok.requests
    assert request.request_line == "POST /v1/x?a=%2B52&b=+ HTTP/1.1"
    assert request.content == b"a=1"
    assert request.all("X-Twice") == ["1", "2"]
    names = sorted(name for name, _ in request.headers)
    assert names == ["Accept", "Accept-Encoding", "Content-Length", "Host", "User-Agent", "X-Twice", "X-Twice"]
    assert request.all("Accept") == ["*/*"]
    assert request.all("Accept-Encoding") == ["gzip, deflate"]
    assert request.all("User-Agent")[0].startswith("airflow-whatsapp-flows")


async def test_the_requests_own_headers_win(ok: HostileServer, send_to: SendTo) -> None:
    own = (("accept", "text/xml"), ("User-agent", "mine"), ("Accept-Encoding", "identity"), ("Content-Type", "a/b"))
    await send_to(ok, headers=own)

    for name, value in own:
        assert ok.requests[0].all(name) == [value]


@pytest.mark.parametrize(
    "path",
    ["/a/%2e%2e/b", "/a/../b", "/a//b", "/%41%7e~", "/a%2Fb?x=%3D&&y=+%20", "/?q='(!*)'", '/a|b"<>^`{}', "/%C3%B1%f1"],
)
async def test_sends_the_url_byte_for_byte(ok: HostileServer, send_to: SendTo, path: str) -> None:
    await send_to(ok, "GET", path, b"")

    assert ok.requests[0].request_line == f"GET {path} HTTP/1.1"


async def test_a_url_without_a_path_requests_the_root(ok: HostileServer, send_to: SendTo) -> None:
    await send_to(ok, "GET", "", b"")

    assert ok.requests[0].request_line == "GET / HTTP/1.1"


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "HEAD", "PATCH", "PUT"])
async def test_every_method_sends_its_content(ok: HostileServer, send_to: SendTo, method: str) -> None:
    await send_to(ok, method, content=b"body")

    assert (ok.requests[0].content, ok.requests[0].all("Content-Length")) == (b"body", ["4"])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_empty_content_has_length_zero(ok: HostileServer, send_to: SendTo, method: str) -> None:
    await send_to(ok, method, content=b"")

    assert ok.requests[0].all("Content-Length") == ["0"]
    assert ok.requests[0].all("Content-Type") == []


async def test_a_large_body_arrives_complete(ok: HostileServer, send_to: SendTo) -> None:
    content = bytes(range(256)) * 12_000
    assert isinstance(await send_to(ok, content=content), HttpResponse)

    assert ok.requests[0].content == content
    assert ok.requests[0].all("Transfer-Encoding") == []


@pytest.mark.parametrize("coding", ["gzip", "br"])
async def test_a_head_reply_has_no_content(serve: Serve, send_to: SendTo, coding: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\nContent-Encoding: {coding}\r\n\r\n"
    server = serve(honest(head.encode()))

    got = await send_to(server, "HEAD", content=b"")

    assert isinstance(got, HttpResponse)
    assert got.content == b""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_reply(serve: Serve, send_to: SendTo, ok: HostileServer, status: int) -> None:
    server = serve(honest(reply(b"", f"{status} Moved", f"Location: {ok.url()}")))

    got = await send_to(server)

    assert isinstance(got, HttpResponse)
    assert (got.status_code, got.header("location")) == (status, ok.url())
    assert (len(server.requests), ok.connections) == (1, 0)


async def test_cookies_of_one_contact_are_not_sent_for_the_next(serve: Serve) -> None:
    server = serve(honest(reply(b"", "200 OK", "Set-Cookie: contact=ana; Path=/")))
    async with open_session(LOOPBACK) as session:
        for _ in range(2):
            await send(HttpRequest("GET", server.url()), session=session)

    assert [request.all("Cookie") for request in server.requests] == [[], []]


async def test_ignores_the_environment(
    ok: HostileServer, send_to: SendTo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ana password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert isinstance(await send_to(ok), HttpResponse)

    assert ok.requests[0].all("Authorization") == []


def _drops_the_second_request(peer: Peer) -> None:
    peer.receive()
    peer.send(reply(b"1"))
    peer.receive()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "GET"])
async def test_does_not_resend_when_a_kept_connection_drops(serve: Serve, method: str) -> None:
    server = serve(_drops_the_second_request)
    request = HttpRequest(method, server.url(), content=b"x")
    async with open_session(LOOPBACK) as session:
        first = await send(request, session=session)
        second = await send(request, session=session)

    assert isinstance(first, HttpResponse)
    assert isinstance(second, TransportFailure)
    assert (second.kind, second.sent) == (ErrorKind.INTERRUPTED, Sent.UNKNOWN)
    assert (len(server.requests), server.connections) == (2, 1)


async def test_stops_reusing_connections_that_the_server_closes(serve: Serve) -> None:
    def closes_after_four(peer: Peer) -> None:
        for _ in range(4):
            if peer.receive() is None:
                return
            peer.send(reply(b"1"))
        peer.await_data()  # the next request is there, and never read

    server = serve(closes_after_four)
    async with open_session(LOOPBACK) as session:
        request = HttpRequest("POST", server.url("/"), content=b"{}")
        replies = [await send(request, session=session) for _ in range(60)]

    lost = [reply for reply in replies if isinstance(reply, TransportFailure)]
    assert [reply.sent for reply in lost] == [Sent.UNKNOWN]  # the first one; it would be every fifth
    assert len(server.requests) == 59


@pytest.mark.parametrize("seen", [True, False], ids=["seen by the event loop", "still in the kernel"])
async def test_an_unsolicited_reply_does_not_answer_the_next_request(serve: Serve, seen: bool) -> None:
    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(reply(b"mine"))
        sent_early.wait(5)
        peer.send(reply(b"too early"))
        arrived.set()
        while peer.receive() is not None:
            peer.send(reply(b"right"))

    sent_early, arrived = threading.Event(), threading.Event()
    server = serve(script)
    async with open_session(LOOPBACK) as session:
        await send(HttpRequest("GET", server.url()), session=session)
        sent_early.set()
        if seen:
            await asyncio.to_thread(arrived.wait, 5)
        else:
            arrived.wait(5)  # holds the loop on purpose
        got = await send(HttpRequest("GET", server.url()), session=session)

    assert isinstance(got, HttpResponse)
    assert got.content == b"mine"  # the script begins again on a new connection
    assert server.connections == 2


async def test_one_session_carries_many_sends_at_once_over_reused_connections(ok: HostileServer) -> None:
    async with open_session(LOOPBACK) as session:
        for _ in range(2):
            replies = await asyncio.gather(
                *(send(HttpRequest("POST", ok.url(), content=b"x"), session=session) for _ in range(64))
            )
            assert {type(one) for one in replies} == {HttpResponse}

    assert len(ok.requests) == 128
    assert ok.connections <= 64


def test_one_request_can_be_sent_without_an_event_loop(ok: HostileServer) -> None:
    got = send_blocking(HttpRequest("GET", ok.url()), network=LOOPBACK)

    assert isinstance(got, HttpResponse)


class TestCredentials:
    def make_credentials(self, server: HostileServer) -> Credentials:
        return Credentials(server.url()[:-1], (("Authorization", "Bearer s3cret"), ("X-Api-Key", "k")))

    async def test_are_sent_to_their_own_origin(self, ok: HostileServer, send_to: SendTo) -> None:
        await send_to(ok, credentials=self.make_credentials(ok))

        assert ok.requests[0].all("Authorization") == ["Bearer s3cret"]
        assert ok.requests[0].all("X-Api-Key") == ["k"]

    async def test_are_not_sent_to_another_port(self, ok: HostileServer, serve: Serve, send_to: SendTo) -> None:
        other = serve(honest(reply()))
        await send_to(other, credentials=self.make_credentials(ok))

        assert other.requests[0].all("Authorization") == []
        assert other.requests[0].all("X-Api-Key") == []

    async def test_a_header_of_the_request_wins_and_is_sent_once(self, ok: HostileServer, send_to: SendTo) -> None:
        await send_to(ok, credentials=self.make_credentials(ok), headers=(("authorization", "own"),))

        assert ok.requests[0].all("Authorization") == ["own"]
        assert ok.requests[0].all("X-Api-Key") == ["k"]

    async def test_appear_in_no_message(self, serve: Serve, send_to: SendTo) -> None:
        broken = serve(lambda peer: None)
        got = await send_to(broken, path="/?token=q3ery", credentials=self.make_credentials(broken))

        assert isinstance(got, TransportFailure)
        assert "s3cret" not in repr(got)
        assert "q3ery" not in repr(got)
        assert f"127.0.0.1:{broken.port}" in got.message


@pytest.mark.parametrize(
    "url",
    ["http://a b/", "http://a/\r\nX: 1", "http://u:pa55@127.0.0.1/", "ftp://127.0.0.1/", "http://127.0.0.1:99999/",
     "http://127.0.0.1:x/", "http:///x", "http://[::1/", "http://ñ.example/", "http://a%41/", "example", ""],
)  # fmt: skip
async def test_an_unusable_url_is_a_failure_that_does_not_quote_it(url: str) -> None:
    async with open_session(LOOPBACK) as session:
        got = await send(HttpRequest("GET", url), session=session)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.PROTOCOL, Sent.NO)
    assert "pa55" not in got.message


async def test_a_bad_method_is_refused(ok: HostileServer, send_to: SendTo) -> None:
    got = await send_to(ok, "GET /evil HTTP/1.1\r\nX:")

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent, ok.connections) == (ErrorKind.PROTOCOL, Sent.NO, 0)


async def test_a_relative_url_is_a_callers_error() -> None:
    async with open_session() as session:
        with pytest.raises(ValueError, match="absolute"):
            await send(HttpRequest("GET", "/v1"), session=session)


async def test_using_a_closed_session_is_a_callers_error(ok: HostileServer) -> None:
    async with open_session(LOOPBACK) as session:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        await send(HttpRequest("GET", ok.url()), session=session)


async def test_a_cancelled_send_stays_cancelled(serve: Serve) -> None:
    server = serve(lambda peer: peer.wait_for_client_to_close())
    async with open_session(LOOPBACK) as session:
        task = asyncio.create_task(send(HttpRequest("GET", server.url()), session=session))
        await asyncio.to_thread(server.accepted.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("limits", [{"deadline": 0}, {"connect_timeout": -1}, {"max_content": 0}])
def test_refuses_a_limit_of_zero(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="greater than zero"):
        SendPolicy(**limits)


class TestProxy:
    def policy(self, proxy: HostileServer) -> NetworkPolicy:
        return NetworkPolicy(allowed=("127.0.0.1",), proxy=f"http://ana:s3cret@127.0.0.1:{proxy.port}")

    async def test_plain_requests_go_through_it_whole(self, ok: HostileServer, serve: Serve, send_to: SendTo) -> None:
        proxy = serve(honest(reply(b"by proxy")))
        got = await send_to(ok, path="/a%2fb?x=%20", network=self.policy(proxy))

        assert isinstance(got, HttpResponse)
        assert got.content == b"by proxy"
        assert ok.connections == 0
        assert proxy.requests[0].request_line == f"POST {ok.url('/a%2fb?x=%20')} HTTP/1.1"
        assert proxy.requests[0].all("Proxy-Authorization") == ["Basic YW5hOnMzY3JldA=="]

    async def test_its_refusal_to_tunnel_proves_that_nothing_was_sent(self, serve: Serve) -> None:
        proxy = serve(honest(reply(b"", "403 Forbidden")))
        async with open_session(self.policy(proxy)) as session:
            request = HttpRequest("POST", "https://crm.example/v1", (("Authorization", "own"),), b"x")
            got = await send(request, session=session)

        assert isinstance(got, TransportFailure)
        assert (got.kind, got.sent) == (ErrorKind.CONNECT, Sent.NO)
        assert "403" in got.message
        assert "s3cret" not in repr(got)
        assert proxy.requests[0].request_line == "CONNECT crm.example:443 HTTP/1.1"
        assert proxy.requests[0].all("Authorization") == []

    async def test_addresses_in_a_url_are_still_checked(self, serve: Serve) -> None:
        proxy = serve(honest(reply()))
        network = NetworkPolicy(proxy=f"http://127.0.0.1:{proxy.port}")
        async with open_session(network) as session:
            for host in ("127.0.0.2", "[::1]", "localhost", f"127.0.0.1:{proxy.port}"):
                got = await send(HttpRequest("GET", f"http://{host}/"), session=session)
                assert isinstance(got, TransportFailure)
                assert got.kind is ErrorKind.POLICY
        assert proxy.connections == 0
