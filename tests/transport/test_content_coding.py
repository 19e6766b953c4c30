"""Content codings are decoded exactly, or refused."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest

from airflow_whatsapp_flows.transport.content_coding import (
    ContentTooLargeError,
    ContentUnreadableError,
    content_coding,
    decode_content,
)

TEXT = b'{"id": 7}' * 20
RAW = zlib.compressobj(wbits=-15)
BARE = RAW.compress(TEXT) + RAW.flush()


@pytest.mark.parametrize(
    ("received", "coding"),
    [
        pytest.param(TEXT, "", id="none"),
        pytest.param(gzip.compress(TEXT), "gzip", id="gzip"),
        pytest.param(gzip.compress(TEXT), "x-gzip", id="x-gzip"),
        pytest.param(gzip.compress(TEXT[:50]) + gzip.compress(TEXT[50:]), "gzip", id="two gzip members"),
        pytest.param(gzip.compress(TEXT) + b"\0" * 9, "gzip", id="gzip padded with zeros"),
        pytest.param(zlib.compress(TEXT), "deflate", id="deflate"),
        pytest.param(BARE, "deflate", id="deflate without the zlib frame"),
    ],
)
def test_decodes_a_content_coding(received: bytes, coding: str) -> None:
    assert decode_content(received, coding, len(TEXT)) == TEXT
    with pytest.raises(ContentTooLargeError):
        decode_content(received, coding, len(TEXT) - 1)


@pytest.mark.parametrize(
    ("received", "coding"),
    [
        pytest.param(gzip.compress(TEXT)[:-9], "gzip", id="cut gzip"),
        pytest.param(gzip.compress(TEXT)[:-1] + b"\xff", "gzip", id="wrong length at its end"),
        pytest.param(gzip.compress(TEXT) + b"junk", "gzip", id="junk behind gzip"),
        pytest.param(TEXT, "gzip", id="not gzip"),
        pytest.param(zlib.compress(TEXT)[:-5], "deflate", id="cut deflate"),
        pytest.param(zlib.compress(TEXT) + b"x", "deflate", id="junk behind deflate"),
        pytest.param(b"\x78", "deflate", id="one byte"),
        pytest.param(TEXT, "deflate", id="not deflate"),
    ],
)
def test_refuses_content_that_does_not_match_its_coding(received: bytes, coding: str) -> None:
    with pytest.raises(ContentUnreadableError):
        decode_content(received, coding, 10_000)


@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
def test_keeps_none(coding: str) -> None:
    assert decode_content(b"", coding, 1) == b""


def test_a_million_empty_members_are_refused_at_once() -> None:
    begun = time.monotonic()
    with pytest.raises(ContentUnreadableError):
        decode_content(gzip.compress(b"") * 50_000, "gzip", 1 << 20)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("fields", "coding"),
    [([], ""), (["gzip"], "gzip"), (["GZip"], "gzip"), (["identity"], ""), (["gzip, identity"], "gzip"), ([" , "], "")],
)
def test_finds_the_single_coding(fields: list[str], coding: str) -> None:
    assert content_coding(fields) == coding


@pytest.mark.parametrize(
    "fields", [["gzip, gzip"], ["gzip", "gzip"], ["gzip"] * 40, ["br"], ["zstd"], ["compress"], ["aes128gcm"], ["x"]]
)
def test_more_than_one_coding_or_an_unknown_one_is_refused(fields: list[str]) -> None:
    with pytest.raises(ContentUnreadableError):
        content_coding(fields)
