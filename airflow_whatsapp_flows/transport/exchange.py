"""Sends one request and receives its reply, within a deadline and a size limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.request.messages import HttpRequest, HttpResponse, Reply, Sent, TransportFailure
from airflow_whatsapp_flows.transport.connection import Connection
from airflow_whatsapp_flows.transport.connector import Route
from airflow_whatsapp_flows.transport.credentials import Credentials
from airflow_whatsapp_flows.transport.failures import judge_failure, lacks_descriptors
from airflow_whatsapp_flows.transport.network import PUBLIC_ONLY, NetworkPolicy
from airflow_whatsapp_flows.transport.policy import DEFAULT_POLICY, SendPolicy
from airflow_whatsapp_flows.transport.reply_reader import ReplyReader
from airflow_whatsapp_flows.transport.request_head import Target, length_line, request_head, start_of, target_of
from airflow_whatsapp_flows.transport.resolver import AddressRefusedError
from airflow_whatsapp_flows.transport.session import Session, open_session

Write = Callable[["asyncio.Future[None] | None"], bool]
"""Writes a request at once, if its connection is still clean; returns whether it did. The future, if any, is then done
when the exchange is over: who waits for it anyway is woken once."""
Permit = Callable[[Write], Awaitable[None]]
"""Awaited immediately before a request is written. It may call its argument to write the request at once, from any
callback of the event loop; otherwise the request is written when it returns."""


async def send(
    request: HttpRequest,
    policy: SendPolicy = DEFAULT_POLICY,
    credentials: Credentials | None = None,
    *,
    session: Session,
    permit: Permit | None = None,
) -> Reply:
    """Send one request, once, and wait for its reply.

    Redirects are not followed: a 3xx is an ordinary reply. Nothing that the network or a server does raises.

    Args:
        request: with an absolute ``url``; it is sent byte for byte.
        policy: limits.
        credentials: added if the request goes to their origin; the request's own headers take precedence.
        session: from :func:`open_session`; may be shared by any number of sends.
        permit: awaited once, when the request is checked and its connection open, before its first byte is written. The
            deadline is paused until the request is written. If it raises, nothing more is written, and its exception
            is raised.

    Returns:
        A complete reply with a status of 200 to 599, or a failure that says whether the request may have arrived.

    Raises:
        ValueError: the URL is relative.
        RuntimeError: the session is closed.
    """
    if request.url.startswith("/"):
        raise ValueError("send() needs an absolute URL")
    if session.pool.is_closed:
        raise RuntimeError("the session is closed")
    attempt = _Attempt(request, policy, session, session.pool.loop.time())
    try:
        attempt.prepare(credentials)
        await attempt.connect()
    except Exception as error:  # whatever the network does becomes data
        return attempt.failure(error)
    if permit is not None:
        await attempt.wait_for(permit)
    try:
        if permit is not None and attempt.reply is None and not attempt.connection.is_usable():
            attempt.connection.close()
            await attempt.connect()
        return await attempt.exchange()
    except Exception as error:
        return attempt.failure(error)


def send_blocking(
    request: HttpRequest,
    policy: SendPolicy = DEFAULT_POLICY,
    credentials: Credentials | None = None,
    *,
    network: NetworkPolicy = PUBLIC_ONLY,
) -> Reply:
    """Send one request over its own connection, from code outside an event loop.

    Like :func:`send`; ``network`` determines the allowed addresses, by default public ones only.

    Raises:
        ValueError: the URL is relative.
        RuntimeError: an event loop runs in this thread.
    """

    async def send_once() -> Reply:
        async with open_session(network) as session:
            return await send(request, policy, credentials, session=session)

    return asyncio.run(send_once())


@dataclass(slots=True, eq=False)
class _Attempt:
    """One send.

    Attributes:
        begun: time of the loop; later by the wait for a permit.
        authority: host and port, for messages.
        reader: of the reply; there is none until the request is about to be written.
        reply: done when the reply is complete; there is none until the request is written.
    """

    request: HttpRequest
    policy: SendPolicy
    session: Session
    begun: float
    authority: str = "the server"
    reader: ReplyReader | None = None
    reply: asyncio.Future[None] | None = None
    target: Target = field(init=False)
    head: bytes = field(init=False)
    route: Route = field(init=False)
    connection: Connection = field(init=False)

    def prepare(self, credentials: Credentials | None) -> None:
        """Check the request, and build its head."""
        request, policy, connector = self.request, self.policy, self.session.connector
        target = self.target = target_of(request.url)
        origin = target.origin
        self.authority = origin.authority
        headers = request.headers if credentials is None else credentials.add_to(request.headers, origin)
        last = length_line(request.method, len(request.content))
        is_forwarded = connector.proxy is not None and origin.scheme == "http"
        if is_forwarded and connector.proxy_field:
            headers = tuple(field for field in headers if field[0].lower() != "proxy-authorization")
            last += connector.proxy_field
        start = start_of(request.method, target.url if is_forwarded else target.path)
        self.head = request_head(start, target.host_field, headers, last)
        refusal = self.session.refusal_of_host(origin)
        if refusal is not None:
            raise AddressRefusedError(refusal)
        self.route = Route(origin.scheme, target.host, origin.port, policy.verify, policy.certificate)

    async def connect(self) -> None:
        """Take a connection from the pool, or open one."""
        pool, policy = self.session.pool, self.policy
        connection = pool.take(self.route)
        if connection is None:
            left = self.begun + policy.deadline - pool.loop.time()
            connection = await pool.open(self.route, self.target, min(policy.connect_timeout, left))
        self.connection = connection

    async def wait_for(self, permit: Permit) -> None:
        """Wait for the permit; the deadline is paused meanwhile."""
        pool = self.session.pool
        asked = pool.loop.time()

        def write(waiter: asyncio.Future[None] | None) -> bool:
            if self.reply is not None or not self.connection.is_usable():
                return False
            self.begun += pool.loop.time() - asked
            self.write(waiter)
            return True

        try:
            await permit(write)
        except BaseException:
            if self.reply is not None:
                self.reply.cancel()
            pool.put_back(self.route, self.connection, self.reader)
            raise
        if self.reply is None:
            self.begun += pool.loop.time() - asked

    def write(self, waiter: asyncio.Future[None] | None = None) -> ReplyReader:
        """Write the request."""
        request, policy = self.request, self.policy
        reader = self.reader = ReplyReader(policy.max_content, ends_with_head=request.method.upper() == "HEAD")
        deadline = self.begun + policy.deadline
        pool = self.session.pool
        reply = self.reply = waiter or pool.loop.create_future()
        self.connection.exchange(self.head, request.content, reader, deadline, reply)
        pool.wake_at(deadline)
        return reader

    async def exchange(self) -> HttpResponse:
        """Write the request, unless it is written, and wait for its reply."""
        reader = self.reader or self.write()
        try:
            if self.reply is not None:
                await self.reply
        finally:
            self.session.pool.put_back(self.route, self.connection, reader)
        if reader.failure is not None:
            raise reader.failure
        return reader.response(self.elapsed_ms())

    def elapsed_ms(self) -> int:
        return round((self.session.pool.loop.time() - self.begun) * 1000)

    def failure(self, error: Exception) -> TransportFailure:
        reader, elapsed_ms = self.reader, self.elapsed_ms()
        kind, sent, message = judge_failure(error, self.authority, self.policy, written=reader is not None)
        head = reader.head(elapsed_ms) if reader is not None and reader.status else None
        is_local = sent is Sent.NO and lacks_descriptors(error)
        return TransportFailure(kind, message, sent, head, elapsed_ms, is_local)
