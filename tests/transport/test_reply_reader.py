"""Limits of the content and head of a reply."""

from __future__ import annotations

import gzip
import zlib

import pytest

from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, HttpResponse, Sent, TransportFailure
from airflow_whatsapp_flows.transport import SendPolicy, open_session, send
from airflow_whatsapp_flows.transport.reply_reader import (
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    HeadTooLargeError,
    NotHttpError,
    ReplyReader,
)
from tests.process_memory import IS_KNOWN, peak_memory, reset_peak
from tests.servers.hostile import Script, after_request, endless, honest, reply
from tests.transport.conftest import LOOPBACK, SendTo, Serve

OK = b"HTTP/1.1 200 OK\r\n"


def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b"\0" * 1_000_000
    return b"".join([packer.compress(block) for _ in range(500)]) + packer.flush()


class TestSize:
    @pytest.mark.skipif(not IS_KNOWN, reason="reads /proc")
    async def test_a_bomb_costs_no_memory(self, serve: Serve, send_to: SendTo) -> None:
        bomb = _bomb()
        assert len(bomb) < 600_000
        server = serve(after_request(reply(bomb, "200 OK", "Content-Encoding: gzip")))
        before = reset_peak()

        got = await send_to(server)

        assert isinstance(got, TransportFailure)
        assert (got.kind, got.sent) == (ErrorKind.TOO_LARGE, Sent.YES)
        assert got.head is not None
        assert got.head.status_code == 200
        assert peak_memory() - before < 20_000_000

    @pytest.mark.parametrize(
        ("piece", "head"),
        [
            pytest.param(b"a" * 65_536, OK + b"\r\n", id="plain"),
            pytest.param(
                b"ffff\r\n" + b"a" * 0xFFFF + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n", id="chunked"
            ),
            pytest.param(
                b"\x00\x00\x00\xff\xff" * 10_000, OK + b"Content-Encoding: deflate\r\n\r\n\x78\x9c", id="empty blocks"
            ),
        ],
    )
    async def test_stops_endless_content(self, serve: Serve, send_to: SendTo, piece: bytes, head: bytes) -> None:
        got = await send_to(serve(endless(piece, head)))

        assert isinstance(got, TransportFailure)
        assert (got.kind, got.sent) == (ErrorKind.TOO_LARGE, Sent.YES)
        assert "1048576 bytes" in got.message

    async def test_a_length_of_thousands_of_digits_is_a_number(self, serve: Serve, send_to: SendTo) -> None:
        """Python converts no text of more than 4,300 digits to an integer."""
        short, long = (OK + b"Content-Length: " + digits + b"\r\n\r\nok" for digits in (b"2".zfill(5000), b"9" * 5000))

        got, refused = await send_to(serve(after_request(short))), await send_to(serve(after_request(long)))

        assert isinstance(got, HttpResponse)
        assert got.content == b"ok"
        assert isinstance(refused, TransportFailure)
        assert refused.sent is not Sent.NO

    @pytest.mark.parametrize("coding", ["identity", "gzip"])
    async def test_the_limit_itself_is_allowed_and_one_more_is_not(
        self, serve: Serve, send_to: SendTo, coding: str
    ) -> None:
        for length, fits in ((1000, True), (1001, False)):
            content = b"a" * length if coding == "identity" else gzip.compress(b"a" * length)
            server = serve(after_request(reply(content, "200 OK", f"Content-Encoding: {coding}")))
            got = await send_to(server, policy=SendPolicy(max_content=1000))
            assert isinstance(got, HttpResponse) == fits

    async def test_refuses_a_length_above_the_limit_before_reading(self, serve: Serve, send_to: SendTo) -> None:
        got = await send_to(serve(after_request(OK + b"Content-Length: 1048577\r\n\r\n")))

        assert isinstance(got, TransportFailure)
        assert (got.kind, got.sent) == (ErrorKind.TOO_LARGE, Sent.YES)

    @pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
    async def test_ignores_the_length_of_content_that_is_not_sent(
        self, serve: Serve, send_to: SendTo, method: str, status: str
    ) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: 9999999\r\n\r\n".encode()
        got = await send_to(serve(after_request(head)), method)

        assert isinstance(got, HttpResponse)
        assert got.content == b""

    async def test_two_codings_are_refused_with_the_status_kept(self, serve: Serve, send_to: SendTo) -> None:
        twice = gzip.compress(gzip.compress(b"{}"))
        got = await send_to(serve(after_request(reply(twice, "201 Created", "Content-Encoding: gzip, gzip"))))

        assert isinstance(got, TransportFailure)
        assert (got.kind, got.sent) == (ErrorKind.UNPARSABLE, Sent.YES)
        assert got.head is not None
        assert got.head.status_code == 201


class TestHead:
    @pytest.mark.parametrize(
        "script",
        [
            pytest.param(endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), id="interim replies"),
            pytest.param(endless(b"\r\n" * 1000), id="blank lines"),
            pytest.param(after_request(OK + (b"a: " + b"b" * 30_000 + b"\r\n") * 100 + b"\r\n"), id="long fields"),
        ],
    )
    async def test_a_head_without_an_end_is_cut_off(self, serve: Serve, send_to: SendTo, script: Script) -> None:
        got = await send_to(serve(script))

        assert isinstance(got, TransportFailure)
        assert (got.kind, got.sent) == (ErrorKind.PROTOCOL, Sent.UNKNOWN)
        assert "head of the reply" in got.message
        assert "131072 bytes" in got.message

    async def test_a_long_head_and_interim_replies_are_read_to_the_end(self, serve: Serve, send_to: SendTo) -> None:
        fields = b"".join(b"h%d: %s\r\n" % (number, b"b" * 1000) for number in range(90))
        content = b"x" * 500_000
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * 20
        head = interim + OK + fields + b"Content-Length: %d\r\n\r\n" % len(content)

        got = await send_to(serve(after_request(head, content)))

        assert isinstance(got, HttpResponse)
        assert len(got.headers) == 91
        assert got.content == content

    async def test_each_reply_of_a_connection_has_its_own_head(self, serve: Serve) -> None:
        answer = reply(b"ok", "200 OK", *(f"h{number}: {'b' * 1000}" for number in range(80)))
        server = serve(honest(answer))
        async with open_session(LOOPBACK) as session:
            for _ in range(4):
                got = await send(HttpRequest("POST", server.url(), (), b"{}"), SendPolicy(deadline=5), session=session)
                assert isinstance(got, HttpResponse)
        assert server.connections == 1


def read(*pieces: bytes, limit: int = 1_000_000) -> ReplyReader:
    reader = ReplyReader(limit)
    for piece in pieces:
        reader.feed(piece)
    return reader


def _head(size: int) -> bytes:
    """A complete head of so many bytes, in fields that are not too long."""
    start, end, fields = OK, b"Content-Length: 0\r\n\r\n", b""
    while (left := size - len(start + fields + end)) > 0:
        fields += b"a:" + b"b" * (min(left, 20_000) - 4) + b"\r\n"
    return start + fields + end


class TestLimits:
    """Exactly where they are."""

    @pytest.mark.parametrize(
        ("fits", "too_large", "error"),
        [
            pytest.param(_head(MAX_HEAD_BYTES), _head(MAX_HEAD_BYTES + 1), HeadTooLargeError, id="head"),
            pytest.param(
                b"HTTP/1.1 100 C\r\n\r\n" + _head(MAX_HEAD_BYTES - 18),
                b"HTTP/1.1 100 C\r\n\r\n" + _head(MAX_HEAD_BYTES - 17),
                HeadTooLargeError,
                id="head and interim reply",
            ),
            pytest.param(
                OK + b"a:" + b"b" * (MAX_FIELD_BYTES - 1) + b"\r\nContent-Length: 0\r\n\r\n",
                OK + b"a:" + b"b" * MAX_FIELD_BYTES + b"\r\nContent-Length: 0\r\n\r\n",
                NotHttpError,
                id="field",
            ),
            pytest.param(
                OK + b"a:b\r\n" * (MAX_FIELDS - 1) + b"Content-Length: 0\r\n\r\n",
                OK + b"a:b\r\n" * MAX_FIELDS + b"Content-Length: 0\r\n\r\n",
                NotHttpError,
                id="fields",
            ),
        ],
    )
    def test_a_head_may_be_as_large_as_its_limits(self, fits: bytes, too_large: bytes, error: type[Exception]) -> None:
        assert read(fits).is_complete
        assert read(*(bytes([byte]) for byte in fits[:2000]), fits[2000:]).is_complete
        with pytest.raises(error):
            read(too_large)

    @pytest.mark.parametrize(
        ("start", "more"),
        [
            pytest.param(b"1\r\na\r\n0\r\nx: ", b"y" * 1000, id="trailer"),
            pytest.param(b"1\r\na\r\n0\r\n", b"x: y\r\n" * 200, id="trailers"),
            pytest.param(b"1;a=", b"b" * 1000, id="chunk extension"),
        ],
    )
    def test_what_surrounds_content_has_the_limit_of_a_head(self, start: bytes, more: bytes) -> None:
        pieces = [more] * (MAX_HEAD_BYTES // len(more) + 2)
        with pytest.raises(HeadTooLargeError):
            read(OK + b"Transfer-Encoding: chunked\r\n\r\n", start, *pieces)

    def test_content_with_much_around_it_is_read(self) -> None:
        chunk = b"1;" + b"a" * 100_000 + b"\r\nb\r\n"
        reader = read(OK + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 10, b"0\r\n\r\n")

        assert reader.response(0).content == b"b" * 10


@pytest.mark.parametrize(
    "wire",
    [
        reply(b"ok", "201 Created", "X: \t a \t"),
        b"\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 New\r\nX: 1\r\n\r\n" + reply(b"ok"),
        b"HTTP/1.1 200 OK\nContent-Length: 2\nX: a\n b\n\nok",
        OK + b"Transfer-Encoding: chunked\r\n\r\n4;a=b\r\nabcd\r\n2\r\nef\r\n0\r\nx: y\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nX:\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    ],
    ids=["length", "interim", "lines that end with LF", "chunked", "204", "304"],
)
def test_a_reply_is_the_same_in_every_division(wire: bytes) -> None:
    whole = read(wire)
    bytewise = read(*(bytes([byte]) for byte in wire))

    assert whole.is_complete
    assert bytewise.is_complete
    assert bytewise.response(0) == whole.response(0)
    assert bytewise.is_reusable == whole.is_reusable is True
    for cut in range(1, len(wire)):
        assert read(wire[:cut], wire[cut:]).response(0) == whole.response(0)
        assert not read(wire[:cut]).is_complete
