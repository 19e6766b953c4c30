"""What sends share: connections, DNS answers and the network policy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache

from airflow_whatsapp_flows.transport.connector import Connector
from airflow_whatsapp_flows.transport.network import PUBLIC_ONLY, NetworkPolicy
from airflow_whatsapp_flows.transport.origin import Origin
from airflow_whatsapp_flows.transport.pool import ConnectionPool
from airflow_whatsapp_flows.transport.resolver import JudgingResolver, Lookup, system_lookup


@dataclass(frozen=True, slots=True)
class Session:
    """Connections and the policy that applies to them; open one with :func:`open_session`.

    Attributes:
        pool: holds the connections.
        connector: opens them.
        refusal_of_host: :meth:`NetworkPolicy.refusal_of_host`, cached: checking an address costs 1 µs.
    """

    pool: ConnectionPool
    connector: Connector
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
    connector = Connector(resolver, network.proxy)
    pool = ConnectionPool(connector)
    try:
        yield Session(pool, connector, lru_cache(maxsize=256)(network.refusal_of_host))
    finally:
        await pool.close()
        resolver.close()
