"""Addresses of host names, looked up once and checked before anything connects to them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from airflow_whatsapp_flows.transport.addresses import host_address
from airflow_whatsapp_flows.transport.network import NetworkPolicy

Lookup = Callable[[str, int], Sequence[str]]
"""Resolves host and port to addresses; blocks, and raises ``OSError`` if there are none."""

_LOOKUP_THREADS = 8
_KEPT_SECONDS = 10.0


class AddressRefusedError(Exception):
    """The network policy refuses a host; the message says why and what would allow it."""


class NameNotFoundError(OSError):
    """A host name has no address."""


def system_lookup(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name from the system's resolver, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class JudgingResolver:
    """Looks up a name once, checks every address, and returns the checked ones to be connected to."""

    def __init__(self, network: NetworkPolicy, lookup: Lookup) -> None:
        self._network = network
        self._lookup = lookup
        self._lookups: dict[tuple[str, int], tuple[float, asyncio.Future[Sequence[str]]]] = {}
        # Separate threads, because asyncio.run() waits for those of the loop, and one hanging lookup would outlive
        # every deadline.
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="whatsapp-flows-dns")

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a name if all of them are allowed, or the address itself.

        An address in a URL is checked before any connection is opened.

        Raises:
            AddressRefusedError: one of them is not allowed.
            NameNotFoundError: it has none.
        """
        if host_address(host) is not None:
            return [host]
        lookup = self._lookup_of(host, port)
        await asyncio.wait([lookup])  # others may wait for the same one: whoever is cancelled does not cancel it
        try:
            found = lookup.result()
            if not found:
                raise OSError(0, "it has no address")
        except (OSError, UnicodeError) as error:  # the latter for a label of more than 63 characters
            self._lookups.pop((host, port), None)
            raise NameNotFoundError(*error.args[:2]) from error
        refusal = self._network.refusal_of_resolved(host, port, [ip_address(address) for address in found])
        if refusal is not None:
            raise AddressRefusedError(refusal)
        return list(found)

    def _lookup_of(self, host: str, port: int) -> asyncio.Future[Sequence[str]]:
        """Start a lookup, or join one of the last seconds: connections are often opened many at a time."""
        loop = asyncio.get_running_loop()
        until, lookup = self._lookups.get((host, port), (0.0, None))
        if lookup is None or until < loop.time():
            lookup = loop.run_in_executor(self._threads, self._lookup, host, port)
            lookup.add_done_callback(_retrieve)
            self._lookups[host, port] = loop.time() + _KEPT_SECONDS, lookup
        return lookup

    def close(self) -> None:
        """Release the threads; one in a lookup ends with it."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _retrieve(lookup: asyncio.Future[Sequence[str]]) -> None:
    if not lookup.cancelled():
        lookup.exception()  # so that asyncio does not report one for which nobody waits any more
