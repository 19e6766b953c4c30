"""Opens connections: to checked addresses, with TLS, and through a proxy."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from base64 import b64encode
from functools import lru_cache
from typing import NamedTuple

from aiohappyeyeballs import start_connection
from yarl import URL

from airflow_whatsapp_flows.transport.connection import Connection
from airflow_whatsapp_flows.transport.reply_reader import ReplyReader
from airflow_whatsapp_flows.transport.request_head import Target, request_head
from airflow_whatsapp_flows.transport.resolver import JudgingResolver

_HAPPY_EYEBALLS_SECONDS = 0.25  # RFC 8305 §5


class ProxyUnreachableError(Exception):
    """There is no connection to the proxy; its cause says why."""


class ProxyRefusedError(Exception):
    """The proxy does not connect to the host; the message is the status of its answer."""


class TlsFilesError(Exception):
    """A certificate file cannot be used; the message names it."""


class Route(NamedTuple):
    """What one connection leads to; requests on equal routes can share it.

    Attributes:
        scheme: ``"http"`` or ``"https"``.
        host: as written in the URL, without brackets.
        port: the effective port.
        verify: as in :class:`SendPolicy`.
        certificate: as in :class:`SendPolicy`.
    """

    scheme: str
    host: str
    port: int
    verify: bool | str
    certificate: tuple[str, str | None] | None


class Connector:
    """Opens connections.

    Args:
        resolver: checks the addresses of names; those in URLs are checked before.
        proxy: URL of the proxy, with its user name and password.
    """

    def __init__(self, resolver: JudgingResolver, proxy: str | None) -> None:
        self.connections: set[Connection] = set()
        """All that are open."""
        self.proxy = None if proxy is None else URL(proxy)
        self.proxy_field = ""
        """Line of a head with the credentials of the proxy."""
        self._resolver = resolver
        if self.proxy is not None and (self.proxy.user or self.proxy.password):
            user = f"{self.proxy.user or ''}:{self.proxy.password or ''}"
            self.proxy_field = f"Proxy-Authorization: Basic {b64encode(user.encode()).decode()}\r\n"

    async def open(self, route: Route, target: Target) -> Connection:
        """Open a connection.

        Raises:
            AddressRefusedError: the host resolves to an address that is not allowed.
            TlsFilesError: the files of the TLS settings cannot be used.
            ProxyUnreachableError: there is no connection to the proxy.
            ProxyRefusedError: there is none through it.
            OSError: there is no connection; ``ssl.SSLError`` is one too.
        """
        context = tls_context(route.verify, route.certificate) if route.scheme == "https" else None
        proxy = self.proxy
        if proxy is None:
            return await self._connect(route.host, route.port, context)
        proxy_context = tls_context(route.verify, None) if proxy.scheme == "https" else None
        try:
            connection = await self._connect(proxy.raw_host or "", proxy.port or 0, proxy_context)
        except OSError as error:
            raise ProxyUnreachableError from error
        if context is not None:
            try:
                await self._open_tunnel(connection, route, target)
                await connection.start_tls(context, route.host.rstrip("."))
            except BaseException:
                connection.close()
                raise
        return connection

    async def _connect(self, host: str, port: int, context: ssl.SSLContext | None) -> Connection:
        found = await self._resolver.resolve(host, port)
        infos = [
            socket.getaddrinfo(one, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0] for one in found
        ]
        connected = await start_connection(infos, happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS, interleave=1)
        name = None if context is None else host.rstrip(".")
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self.connections), sock=connected, ssl=context, server_hostname=name
        )
        return connection

    async def _open_tunnel(self, connection: Connection, route: Route, target: Target) -> None:
        host = f"[{route.host}]" if ":" in route.host else route.host
        head = request_head(f"CONNECT {host}:{route.port}", target.host_field, (), self.proxy_field)
        reader = ReplyReader(0, ends_with_head=True)
        try:
            opened = asyncio.get_running_loop().create_future()
            connection.exchange(head, b"", reader, math.inf, opened)
            await opened
            if reader.failure is not None:
                raise reader.failure
        except Exception as error:
            raise ProxyUnreachableError from error
        if not 200 <= reader.status < 300:
            raise ProxyRefusedError(reader.status)


@lru_cache(maxsize=64)
def tls_context(verify: bool | str, certificate: tuple[str, str | None] | None) -> ssl.SSLContext:
    """Return the TLS settings of a policy.

    Raises:
        TlsFilesError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    except OSError as error:
        raise TlsFilesError(f"the file of certificate authorities {verify} cannot be used") from error
    if verify is False:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        try:
            # Without a password, OpenSSL would prompt on the terminal.
            context.load_cert_chain(*certificate, password="")
        except (OSError, ValueError) as error:
            raise TlsFilesError(f"the client certificate {certificate[0]} or its key cannot be used") from error
    context.set_alpn_protocols(("http/1.1",))
    return context
