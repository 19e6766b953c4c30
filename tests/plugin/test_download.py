"""A download ends its reading of the ledger, however it ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from airflow_whatsapp_flows.plugin import download
from airflow_whatsapp_flows.plugin.download import Download, blocks

Send = Callable[[Any], Awaitable[None]]


class Lines:
    """Lines that note whether they were closed while they were being read."""

    def __init__(self) -> None:
        self.is_open = False

    def read(self, number: int = 1000) -> Generator[str, None, None]:
        self.is_open = True
        try:
            yield from ("x" * 1000 + "\n" for _ in range(number))
        finally:
            self.is_open = False


def _run(version: str, send: Send, receive: Callable[[], Awaitable[Any]]) -> Lines:
    lines = Lines()
    response = Download(blocks(lines.read()))
    held = response.body_iterator  # somebody else still holds what is read, as a middleware may
    scope = {"type": "http", "method": "GET", "asgi": {"spec_version": version}}
    try:
        asyncio.run(response(scope, receive, send))
    finally:
        assert held is not None
        assert not lines.is_open
    return lines


async def _wait() -> Any:
    await asyncio.sleep(3600)


def test_lines_are_sent_in_blocks() -> None:
    sent = list(blocks(Lines().read()))
    assert "".join(sent) == "".join(Lines().read())
    assert {len(block) for block in sent[:-1]} == {66 * 1001}
    assert len(sent) == 16


def test_a_whole_download_is_closed() -> None:
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    _run("2.4", send, _wait)
    assert len(b"".join(sent)) == 1_001_000


def test_a_client_that_leaves_keeps_nothing_open() -> None:
    sent = asyncio.Event()

    async def send(message: Any) -> None:
        if message.get("body"):
            sent.set()
            await asyncio.sleep(3600)

    async def receive() -> Any:
        await sent.wait()
        return {"type": "http.disconnect"}

    _run("2.3", send, receive)


def test_a_broken_connection_keeps_nothing_open() -> None:
    async def send(message: Any) -> None:
        if message.get("body"):
            raise OSError

    with pytest.raises(ClientDisconnect):
        _run("2.4", send, _wait)


@pytest.mark.parametrize("version", ["2.3", "2.4"])
def test_a_client_that_stalls_is_disconnected(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(download, "_STALLED", 0.05)

    async def send(message: Any) -> None:
        if message.get("body"):
            await asyncio.sleep(3600)

    with pytest.raises(BaseException) as raised:  # noqa: PT011  # alone, or in a group of exceptions
        _run(version, send, _wait)
    assert re.search("TimeoutError|ClientDisconnect", repr(raised.value))
