"""What sends share: connections, DNS answers and the network policy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache

import aiohttp

from airflow_whatsapp_flows import __version__
from airflow_whatsapp_flows.transport.connector import CleanConnector, JudgingResolver, Lookup, system_lookup
from airflow_whatsapp_flows.transport.network import PUBLIC_ONLY, NetworkPolicy
from airflow_whatsapp_flows.transport.origin import Origin
from airflow_whatsapp_flows.transport.reply_head import READ_BYTES

# With aiohttp's 8190, one long cookie or policy in the reply would turn a completed POST into a protocol error.
_MAX_FIELD_BYTES = 32_768
# aiohttp before 3.13.4 had no limit. Twice its default of 128: a verbose proxy must not fail a completed POST.
_MAX_FIELDS = 256


@dataclass(frozen=True, slots=True)
class Session:
    """Connections and the policy that applies to them; open one with :func:`open_session`.

    Attributes:
        client: holds the connections.
        network: which hosts may be connected to.
        refusal_of_host: :meth:`NetworkPolicy.refusal_of_host`, cached: checking an address costs 1 µs.
    """

    client: aiohttp.ClientSession
    network: NetworkPolicy
    refusal_of_host: Callable[[Origin], str | None]


@asynccontextmanager
async def open_session(
    network: NetworkPolicy = PUBLIC_ONLY, *, lookup: Lookup = system_lookup
) -> AsyncIterator[Session]:
    """Open a session for any number of sends, also at the same time, in one event loop.

    Redirects are not followed, cookies not kept, ``.netrc`` and ``HTTP_PROXY`` not read. The number of connections is
    not limited here; the caller limits concurrent sends.

    Args:
        network: which hosts may be connected to; by default public addresses only.
        lookup: resolver; it runs in a thread, and each of its addresses is checked before connecting.
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
        auto_decompress=False,
        trust_env=False,
        max_field_size=_MAX_FIELD_BYTES,
        max_headers=_MAX_FIELDS,
        read_bufsize=READ_BYTES // 2,  # aiohttp stops reading at twice this amount of unread data
        proxy=network.proxy,
    )
    # aiohttp silently resends GET, PUT, DELETE and others when a kept-alive connection drops. There is no public
    # switch; tests/transport/test_exchange.py counts what the server receives.
    client._retry_connection = False
    try:
        yield Session(client, network, lru_cache(maxsize=256)(network.refusal_of_host))
    finally:
        await client.close()
        await resolver.close()
