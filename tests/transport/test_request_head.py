"""The head of a request: order of its fields, and what is refused."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.flow.request.messages import ErrorKind, Sent, TransportFailure
from tests.servers.hostile import HostileServer, honest, reply
from tests.transport.conftest import SendTo, Serve


@pytest.fixture
def ok(serve: Serve) -> HostileServer:
    return serve(honest(reply()))


async def test_header_order_is_fixed_and_case_is_kept(ok: HostileServer, send_to: SendTo) -> None:
    await send_to(ok, "POST", "/", b"a=1", (("x-tab", "a\tb"), ("content-type", "text/plain"), ("X-Last", "~")))

    sent = [f"{name}: {value}" for name, value in ok.requests[0].headers if name != "User-Agent"]
    assert sent == [
        f"Host: 127.0.0.1:{ok.port}",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate",
        "x-tab: a\tb",
        "content-type: text/plain",
        "X-Last: ~",
        "Content-Length: 3",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        (("X-A", "a\r\nX-Evil: 1"),),
        (("X-A", "a\x00b"),),
        (("X-A", "a\x0bb"),),
        (("X-A", "é"),),
        (("X-A", "a\x7f"),),
        (("X-A", "a\u00a0b"),),
        (("X A", "a"),),
        (("", "a"),),
        (("Content-Length", "2"),),
        (("transfer-encoding", "chunked"),),
        (("Expect", "100-continue"),),
    ],
    ids=[
        "crlf",
        "nul",
        "vt",
        "not ascii",
        "del",
        "blank not ascii",
        "blank in name",
        "no name",
        "length",
        "coding",
        "expectation",
    ],
)
async def test_refuses_a_bad_header_before_sending(
    ok: HostileServer, send_to: SendTo, headers: tuple[tuple[str, str], ...]
) -> None:
    got = await send_to(ok, headers=headers)

    assert isinstance(got, TransportFailure)
    assert (got.kind, got.sent, ok.connections) == (ErrorKind.PROTOCOL, Sent.NO, 0)
    assert "Evil" not in got.message


async def test_own_fields_replace_the_defaults_in_place(ok: HostileServer, send_to: SendTo) -> None:
    own = (("X-A", "1"), ("USER-agent", "mine"), ("accept", "a"), ("Accept", "b"), ("X-A", "2"))
    await send_to(ok, "GET", "/", b"", own)

    assert [f"{name}: {value}" for name, value in ok.requests[0].headers] == [
        f"Host: 127.0.0.1:{ok.port}",
        "accept: a",
        "Accept-Encoding: gzip, deflate",
        "USER-agent: mine",
        "X-A: 1",
        "Accept: b",
        "X-A: 2",
    ]


@pytest.mark.parametrize(
    ("method", "has_length"), [("GET", False), ("HEAD", False), ("OPTIONS", False), ("DELETE", True), ("POST", True)]
)
async def test_no_content_has_a_length_where_content_is_expected(
    ok: HostileServer, send_to: SendTo, method: str, has_length: bool
) -> None:
    await send_to(ok, method, content=b"")

    assert ok.requests[0].all("Content-Length") == ["0"] * has_length
