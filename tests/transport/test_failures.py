"""Every failure: its kind, and what it proves about the request."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import socket
import sys
import threading

import pytest

from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, HttpResponse, Sent, TransportFailure
from airflow_whatsapp_flows.transport import NetworkPolicy, SendPolicy, open_session, send
from tests.servers.hostile import Peer, Script, after_request, reply
from tests.transport.conftest import LOOPBACK, Certificate, SendTo, Serve

OK = b"HTTP/1.1 200 OK\r\n"
SHORT = SendPolicy(deadline=0.5)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        pytest.param(after_request(), ErrorKind.INTERRUPTED, id="closed without a reply"),
        pytest.param(after_request(reset=True), ErrorKind.INTERRUPTED, id="reset without a reply"),
        pytest.param(after_request(b"HTTP/1.1 2"), ErrorKind.INTERRUPTED, id="cut in the status line"),
        pytest.param(after_request(OK), ErrorKind.INTERRUPTED, id="cut after the status line"),
        pytest.param(after_request(OK + b"Content-Le"), ErrorKind.INTERRUPTED, id="cut in a header's name"),
        pytest.param(after_request(OK + b"Content-Length: 0\r\n"), ErrorKind.INTERRUPTED, id="cut after a header"),
        pytest.param(after_request(b"HTTP/1.1 103 Early Hints\r\n\r\n"), ErrorKind.INTERRUPTED, id="only 103"),
        pytest.param(after_request(b"220 mail.example ESMTP\r\n\r\n"), ErrorKind.PROTOCOL, id="another protocol"),
        pytest.param(after_request(b"\x00\xff\x16\x03" * 50), ErrorKind.PROTOCOL, id="junk"),
        pytest.param(after_request(b"HTTP/1.1 000 None\r\n\r\n"), ErrorKind.PROTOCOL, id="status 0"),
        pytest.param(after_request(b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n"), ErrorKind.PROTOCOL, id="600"),
        pytest.param(after_request(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), ErrorKind.PROTOCOL, id="101"),
        pytest.param(after_request(OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n"), ErrorKind.PROTOCOL, id="NUL"),
        pytest.param(after_request(OK + b"Content-Length: -5\r\n\r\n"), ErrorKind.PROTOCOL, id="negative length"),
        pytest.param(after_request(OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                     ErrorKind.PROTOCOL, id="length and chunked"),
        pytest.param(after_request(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
                     ErrorKind.INTERRUPTED, id="bad chunk"),
        pytest.param(after_request(OK + b"X: " + b"a" * 100_000 + b"\r\n\r\n"), ErrorKind.PROTOCOL, id="long header"),
        pytest.param(after_request(OK + b"X: 1\r\n" * 100_000 + b"\r\n"), ErrorKind.PROTOCOL, id="many headers"),
    ],
)  # fmt: skip
async def test_without_a_reply_the_request_may_have_arrived(
    serve: Serve, send_to: SendTo, script: Script, kind: ErrorKind
) -> None:
    server = serve(script)

    got = await send_to(server)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (kind, Sent.UNKNOWN)
    assert f"127.0.0.1:{server.port}" in got.message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(after_request(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"), id="short content"),
        pytest.param(after_request(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"),
                     id="cut chunk"),
        pytest.param(after_request(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
                     id="no last chunk"),
        pytest.param(after_request(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{", reset=True), id="reset"),
    ],
)  # fmt: skip
async def test_a_truncated_reply_keeps_its_head(serve: Serve, send_to: SendTo, script: Script) -> None:
    got = await send_to(serve(script))

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.INTERRUPTED, Sent.UNKNOWN)
    assert got.head is not None
    assert (got.head.status_code, got.head.content) == (201, b"")


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "left open"])
async def test_invalid_framing_ends_a_reply_immediately(serve: Serve, send_to: SendTo, closes: bool) -> None:
    """Not at the deadline: a reply that can't continue is not waited for."""

    def script(peer: Peer) -> None:
        peer.receive()
        peer.trickle([b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\n", b"no chunk\r\n"])
        if not closes:
            peer.wait_for_client_to_close()

    got = await send_to(serve(script), policy=SendPolicy(deadline=10))

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.INTERRUPTED, Sent.UNKNOWN)
    assert got.head is not None
    assert got.head.status_code == 201
    assert got.elapsed_ms < 5_000


async def test_content_without_a_length_ends_with_the_connection(serve: Serve, send_to: SendTo) -> None:
    got = await send_to(serve(after_request(OK + b"\r\nhello")))

    assert isinstance(got, HttpResponse)
    assert got.content == b"hello"


async def test_content_without_a_length_is_not_complete_after_a_reset(serve: Serve, send_to: SendTo) -> None:
    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(OK + b"\r\nhel")
        peer.closing.wait(0.2)  # the client must have the first part, or the reset takes it along
        peer.reset()

    got = await send_to(serve(script))

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.INTERRUPTED, Sent.UNKNOWN)


@pytest.mark.parametrize("early", [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_skips_interim_replies(serve: Serve, send_to: SendTo, early: bytes) -> None:
    got = await send_to(serve(after_request(early, reply(b"final"))))

    assert isinstance(got, HttpResponse)
    assert (got.status_code, got.content) == (200, b"final")


@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content", "304 Not Modified", "200 OK"])
async def test_an_empty_reply_is_empty_for_every_type(serve: Serve, send_to: SendTo, status: str) -> None:
    got = await send_to(
        serve(after_request(reply(b"", status, "Content-Type: application/json", "Content-Encoding: gzip")))
    )

    assert isinstance(got, HttpResponse)
    assert got.content == b""


_JUNK = b'{"id": 7}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
_ENDS_WITH_ITS_HEAD = [
    pytest.param("POST", [b"HTTP/1.1 204 No Content\r\n\r\n" + _JUNK], 204, id="204"),
    pytest.param("POST", [b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n" + _JUNK], 304, id="304"),
    pytest.param("HEAD", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + _JUNK], 200, id="HEAD"),
    pytest.param("POST", [b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 No\r\n\r\n" + _JUNK], 204, id="behind a 103"),
    pytest.param("POST", [b"HTTP/1.1 2", b"04 No\r\nA: b\r", b"\n\r", b"\n" + _JUNK], 204, id="in pieces"),
]


@pytest.mark.parametrize(("method", "pieces", "status"), _ENDS_WITH_ITS_HEAD)
async def test_a_reply_without_content_ends_with_its_head(
    serve: Serve, method: str, pieces: list[bytes], status: int
) -> None:
    def script(peer: Peer) -> None:
        while peer.receive() is not None:
            peer.trickle(pieces, seconds=0.02)

    server = serve(script)
    async with open_session(LOOPBACK) as session:
        for _ in range(3):
            got = await send(HttpRequest(method, server.url(), content=b"x"), SHORT, session=session)

            assert isinstance(got, HttpResponse)
            assert (got.status_code, got.content) == (status, b"")


async def test_late_junk_after_a_204_is_not_the_next_reply(serve: Serve) -> None:
    def script(peer: Peer) -> None:
        while peer.receive() is not None:
            peer.trickle([b"HTTP/1.1 204 No Content\r\n\r\n", _JUNK], seconds=0.02)

    server = serve(script)
    async with open_session(LOOPBACK) as session:
        for _ in range(3):
            got = await send(HttpRequest("POST", server.url(), content=b"x"), SHORT, session=session)

            # The junk may reach the next request, whose fate is then unknown; it must not be a 200.
            assert isinstance(got, TransportFailure) or got.status_code == 204


async def test_content_that_looks_like_a_204_is_content(serve: Serve, send_to: SendTo) -> None:
    content = b"HTTP/1.1 204 No Content\r\n\r\nand more"

    got = await send_to(serve(after_request(reply(content))))

    assert isinstance(got, HttpResponse)
    assert (got.status_code, got.content) == (200, content)


def _never_replies(peer: Peer) -> None:
    peer.receive()
    peer.wait_for_client_to_close()


def _slow(*parts: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.receive()
        for part in parts[:-1]:
            peer.send(part)
        peer.trickle(bytes([byte]) for byte in itertools.cycle(parts[-1]))

    return script


@pytest.mark.alone
@pytest.mark.parametrize(
    ("script", "has_head"),
    [
        pytest.param(_never_replies, False, id="no reply"),
        pytest.param(_slow(b"HTTP/1.1 200 " + b"O" * 4000), False, id="slow status line"),
        pytest.param(_slow(OK, b"X-Slow: " + b"a" * 4000), False, id="slow headers"),
        pytest.param(_slow(OK + b"Content-Length: 4000\r\n\r\n", b"a"), True, id="slow content"),
        pytest.param(_slow(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"), True, id="slow chunks"),
        pytest.param(_slow(OK + b"\r\n", b"a"), True, id="slow content without a length"),
        pytest.param(_slow(b"HTTP/1.1 100 Continue\r\n\r\n"), False, id="slow endless 100"),
    ],
)
async def test_the_deadline_applies_to_every_phase(
    serve: Serve, send_to: SendTo, script: Script, has_head: bool
) -> None:
    got = await send_to(serve(script), policy=SHORT)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.TIMEOUT, Sent.UNKNOWN)
    assert (got.head is not None) == has_head
    assert 450 <= got.elapsed_ms < 1500
    assert "0.5 s" in got.message


async def test_a_server_that_does_not_read_does_not_hold_a_large_request(serve: Serve, send_to: SendTo) -> None:
    got = await send_to(
        serve(lambda peer: bool(peer.closing.wait(3)) and None), content=b"x" * 30_000_000, policy=SHORT
    )

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.TIMEOUT, Sent.UNKNOWN)
    assert got.elapsed_ms < 1500


async def test_a_reply_before_the_end_of_the_request_counts(serve: Serve, send_to: SendTo) -> None:
    def script(peer: Peer) -> None:
        peer.send(reply(b"too much", "413 Content Too Large"))
        peer.closing.wait(3)

    got = await send_to(serve(script), content=b"x" * 30_000_000, policy=SendPolicy(deadline=2))

    assert isinstance(got, HttpResponse)
    assert got.status_code == 413


async def test_a_refused_connection_proves_that_nothing_was_sent() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with open_session(LOOPBACK) as session:
            got = await send(HttpRequest("POST", f"http://127.0.0.1:{port}/?q=s3cret"), session=session)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.CONNECT, Sent.NO)
    assert got.message == f"no connection to 127.0.0.1:{port}: connection refused"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio gives two tasks one context from Python 3.11 on")
async def test_concurrent_sends_do_not_mix_their_proofs(serve: Serve) -> None:
    """What one send knows of its progress must not be taken for the other's."""
    looked_up = threading.Event()

    def lookup(host: str, port: int) -> list[str]:
        looked_up.wait(5)
        return ["127.0.0.1"]

    broken, other = serve(after_request()), serve(after_request(reply(b"ok")))
    shared, loop = contextvars.copy_context(), asyncio.get_running_loop()
    async with open_session(LOOPBACK, lookup=lookup) as session:
        waiting = HttpRequest("POST", f"http://crm.example:{broken.port}/", content=b"x")
        first = loop.create_task(send(waiting, session=session), context=shared)
        await asyncio.sleep(0)  # it has begun, and waits for its address
        second = loop.create_task(send(HttpRequest("POST", other.url()), session=session), context=shared)
        assert isinstance(await second, HttpResponse)
        looked_up.set()
        got = await first

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent, len(broken.requests)) == (ErrorKind.INTERRUPTED, Sent.UNKNOWN, 1)


async def test_an_unknown_host_proves_that_nothing_was_sent() -> None:
    def lookup(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with open_session(lookup=lookup) as session:
        got = await send(HttpRequest("POST", "https://crm.example/"), session=session)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.CONNECT, Sent.NO)
    assert got.message == "the host of crm.example:443 was not found: name or service not known"


@pytest.mark.parametrize("limits", [SendPolicy(connect_timeout=0.3), SendPolicy(deadline=0.3)], ids=["connect", "all"])
async def test_a_stalled_tls_handshake_proves_that_nothing_was_sent(serve: Serve, limits: SendPolicy) -> None:
    server = serve(lambda peer: peer.wait_for_client_to_close())
    async with open_session(LOOPBACK) as session:
        got = await send(HttpRequest("POST", f"https://127.0.0.1:{server.port}/"), limits, session=session)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.TIMEOUT, Sent.NO)
    assert 250 <= got.elapsed_ms < 1200
    assert "0.3 s" in got.message


class TestTls:
    async def test_a_certificate_of_the_named_authorities_is_accepted(
        self, serve: Serve, send_to: SendTo, certificate: Certificate
    ) -> None:
        server = serve(after_request(reply(b"safe")), certificate.context)

        got = await send_to(server, policy=SendPolicy(verify=certificate.authorities))

        assert isinstance(got, HttpResponse)
        assert got.content == b"safe"

    async def test_verification_can_be_turned_off(
        self, serve: Serve, send_to: SendTo, certificate: Certificate
    ) -> None:
        server = serve(after_request(reply(b"unsafe")), certificate.context)

        assert isinstance(await send_to(server, policy=SendPolicy(verify=False)), HttpResponse)

    async def test_an_unknown_authority_is_refused_before_sending(
        self, serve: Serve, send_to: SendTo, certificate: Certificate
    ) -> None:
        server = serve(after_request(reply()), certificate.context)

        got = await send_to(server)

        assert isinstance(got, TransportFailure)
        assert (got.kind, got.sent, server.requests) == (ErrorKind.TLS, Sent.NO, [])
        assert "self-signed certificate" in got.message

    async def test_a_certificate_of_another_host_is_refused_before_sending(
        self, serve: Serve, send_to: SendTo, certificate_of_another_host: Certificate
    ) -> None:
        server = serve(after_request(reply()), certificate_of_another_host.context)

        got = await send_to(server, policy=SendPolicy(verify=certificate_of_another_host.authorities))

        assert isinstance(got, TransportFailure)
        assert (got.kind, got.sent, server.requests) == (ErrorKind.TLS, Sent.NO, [])

    async def test_plain_http_on_a_tls_port_is_refused_before_sending(self, serve: Serve) -> None:
        server = serve(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        async with open_session(LOOPBACK) as session:
            got = await send(HttpRequest("POST", f"https://127.0.0.1:{server.port}/"), session=session)

        assert isinstance(got, TransportFailure)
        assert got.sent is Sent.NO
        assert got.kind in (ErrorKind.TLS, ErrorKind.CONNECT)

    async def test_unreadable_authorities_are_a_failure_that_names_the_file(
        self, serve: Serve, send_to: SendTo
    ) -> None:
        server = serve(after_request(reply()))
        server.tls = None
        async with open_session(LOOPBACK) as session:
            request = HttpRequest("POST", f"https://127.0.0.1:{server.port}/")
            got = await send(request, SendPolicy(verify="/nowhere/ca.pem"), session=session)

        assert isinstance(got, TransportFailure)
        assert (got.kind, got.sent) == (ErrorKind.TLS, Sent.NO)
        assert "/nowhere/ca.pem" in got.message


async def test_a_long_header_that_real_servers_send_is_accepted(serve: Serve, send_to: SendTo) -> None:
    got = await send_to(serve(after_request(reply(b"", "201 Created", "Set-Cookie: a=" + "b" * 30_000))))

    assert isinstance(got, HttpResponse)


async def test_a_reply_may_have_250_headers(serve: Serve, send_to: SendTo) -> None:
    got = await send_to(serve(after_request(reply(b"", "201 Created", *_many_headers(250)))))

    assert isinstance(got, HttpResponse)


@pytest.mark.parametrize("number", [257, 100_000])
async def test_a_reply_with_more_headers_is_refused(serve: Serve, send_to: SendTo, number: int) -> None:
    got = await send_to(serve(after_request(reply(b"", "201 Created", *_many_headers(number)))))

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent) == (ErrorKind.PROTOCOL, Sent.UNKNOWN)


def _many_headers(number: int) -> list[str]:
    return [f"X-{index}: a" for index in range(number)]


async def test_no_message_quotes_the_server(serve: Serve, send_to: SendTo) -> None:
    got = await send_to(serve(after_request(b"HTTP/1.1 200 OK\r\nbad header s3cret\r\n\r\n")), path="/?token=q3ery")

    assert isinstance(got, TransportFailure)
    assert "s3cret" not in got.message
    assert "q3ery" not in got.message


async def test_a_request_refused_by_policy_was_provably_not_sent(serve: Serve, send_to: SendTo) -> None:
    server = serve(after_request(reply()))

    got = await send_to(server, network=NetworkPolicy())

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent, server.connections) == (ErrorKind.POLICY, Sent.NO, 0)

    @pytest.mark.parametrize("in_one_file", [True, False], ids=["one file", "two files"])
    async def test_sends_a_client_certificate_on_request(
        self, serve: Serve, send_to: SendTo, certificate: Certificate, certificate_of_another_host: Certificate,
        in_one_file: bool,
    ) -> None:  # fmt: skip
        client = certificate_of_another_host
        server = serve(after_request(reply(b"known")), certificate.require_client(client))
        files = (client.chain, None) if in_one_file else (client.certificate, client.key)

        known = await send_to(server, policy=SendPolicy(verify=certificate.authorities, certificate=files))
        unknown = await send_to(server, policy=SendPolicy(verify=certificate.authorities))

        assert isinstance(known, HttpResponse)
        assert known.content == b"known"
        assert isinstance(unknown, TransportFailure)
        assert len(server.requests) == 1

    @pytest.mark.parametrize("files", [("/no/such.pem", None), (__file__, None)], ids=["absent", "no certificate"])
    async def test_an_unusable_client_certificate_is_named_before_sending(
        self, serve: Serve, send_to: SendTo, certificate: Certificate, files: tuple[str, None]
    ) -> None:
        server = serve(after_request(reply()), certificate.context)

        got = await send_to(server, policy=SendPolicy(certificate=files))

        assert isinstance(got, TransportFailure)
        assert (got.kind, got.sent) == (ErrorKind.TLS, Sent.NO)
        assert files[0] in got.message
        assert server.connections == 0
