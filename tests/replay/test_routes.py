"""The origin of requests and files."""

from __future__ import annotations

import asyncio

import pytest

from airflow_whatsapp_flows.flow.body import FileSource
from airflow_whatsapp_flows.replay.routes import Routes
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.settings import Settings


async def test_a_fetch_can_be_cancelled_immediately() -> None:
    asked = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    request_sender = RequestSender(
        Settings(allowed_hosts=(f"127.0.0.1:{port}",)), lambda _: pytest.fail("no connection is used")
    )
    async with server, Routes(request_sender) as routes:
        fetching = asyncio.create_task(
            routes.download(FileSource("body.file", f"http://127.0.0.1:{port}/photo", None), 60)
        )
        await asyncio.wait_for(asked.wait(), 5)
        fetching.cancel()
        done, _ = await asyncio.wait({fetching}, timeout=5)
    assert done == {fetching}
    assert fetching.cancelled()
