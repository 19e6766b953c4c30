"""What many sends share: connections, DNS answers and the network policy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

from airflow_whatsapp_flows import __version__
from airflow_whatsapp_flows.transport.connecting import CleanConnector, JudgingResolver, Lookup, system_lookup
from airflow_whatsapp_flows.transport.network import PUBLIC_ONLY, NetworkPolicy

# aiohttp's 8190 would turn a done POST into a protocol error when the reply carries one long cookie or policy.
_MAX_FIELD_BYTES = 32_768


@dataclass(frozen=True, slots=True)
class Session:
    """Connections and the policy that they were made under; open one with :func:`open_session`."""

    client: aiohttp.ClientSession
    network: NetworkPolicy


@asynccontextmanager
async def open_session(
    network: NetworkPolicy = PUBLIC_ONLY, *, lookup: Lookup = system_lookup
) -> AsyncIterator[Session]:
    """Open a session for any number of sends, also at the same time, in one event loop.

    Redirects are not followed, cookies not kept, ``.netrc`` and ``HTTP_PROXY`` not read. The number of connections is
    not limited here: whoever sends at the same time bounds that.

    Args:
        network: who may be connected to; default public addresses only.
        lookup: resolver; it runs in a thread, and each address that it gives is judged before it is connected to.
    """
    resolver = JudgingResolver(network, lookup)
    client = aiohttp.ClientSession(
        connector=CleanConnector(resolver),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"airflow-whatsapp-flows/{__version__}",
        },
        skip_auto_headers=("Content-Type",),
        auto_decompress=False,
        trust_env=False,
        trace_configs=[_writing_trace()],
        max_field_size=_MAX_FIELD_BYTES,
        proxy=network.proxy,
    )
    # aiohttp sends GET, PUT, DELETE and the like a second time, in silence, when a kept-alive connection drops. There
    # is no public switch; tests/transport/test_sending.py counts what the server got.
    client._retry_connection = False
    try:
        yield Session(client, network)
    finally:
        await client.close()
        await resolver.close()


def _writing_trace() -> aiohttp.TraceConfig:
    """Calls ``trace_request_ctx()`` when a request is about to be written to its connection; before, nothing was."""
    trace = aiohttp.TraceConfig()

    async def note(_client: aiohttp.ClientSession, context: SimpleNamespace, _headers: object) -> None:
        context.trace_request_ctx()

    trace.on_request_headers_sent.append(note)
    return trace
