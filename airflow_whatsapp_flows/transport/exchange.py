"""Sends one request and receives its reply, within a deadline and a size limit."""

from __future__ import annotations

import asyncio
import io
import re
import ssl
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import aiohttp
from yarl import URL

from airflow_whatsapp_flows.flow.request.messages import (
    Headers,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.transport.connector import AddressRefusedError, before_writing
from airflow_whatsapp_flows.transport.credentials import Credentials
from airflow_whatsapp_flows.transport.failures import (
    ReplyRefusedError,
    RequestRefusedError,
    TlsFilesError,
    judge_failure,
    lacks_descriptors,
)
from airflow_whatsapp_flows.transport.network import PUBLIC_ONLY, NetworkPolicy
from airflow_whatsapp_flows.transport.origin import Origin, origin_of_parsed, parse_url
from airflow_whatsapp_flows.transport.policy import DEFAULT_POLICY, SendPolicy
from airflow_whatsapp_flows.transport.reply_body import head_of, receive_content
from airflow_whatsapp_flows.transport.session import Session, open_session

# RFC 9110 §5.1 and §5.5: a token; visible characters, spaces, and tabs.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
_ONE_WRITE_BYTES = 1 << 20  # aiohttp warns above this
_FINAL_STATUSES = range(200, 600)
# aiohttp adds a type to content without one. Preventing it costs 3 µs, so only such content does.
_NO_CONTENT_TYPE = ("Content-Type",)


@dataclass(slots=True)
class _Progress:
    """Progress of a send, which a failure reports."""

    begun: float
    authority: str = "the server"
    written: bool = False
    head: HttpResponse | None = None

    def note_writing(self) -> None:
        self.written = True

    def elapsed_ms(self) -> int:
        return round((perf_counter() - self.begun) * 1000)


async def send(
    request: HttpRequest,
    policy: SendPolicy = DEFAULT_POLICY,
    credentials: Credentials | None = None,
    *,
    session: Session,
) -> Reply:
    """Send one request, once, and wait for its reply.

    Redirects are not followed: a 3xx is an ordinary reply. Nothing that the network or a server does raises.

    Args:
        request: with an absolute ``url``; it is sent byte for byte.
        policy: limits.
        credentials: added if the request goes to their origin; the request's own headers take precedence.
        session: from :func:`open_session`; may be shared by any number of sends.

    Returns:
        A complete reply with a status of 200 to 599, or a failure that says whether the request may have arrived.

    Raises:
        ValueError: the URL is relative.
        RuntimeError: the session is closed.
    """
    if request.url.startswith("/"):
        raise ValueError("send() needs an absolute URL")
    if session.client.closed:
        raise RuntimeError("the session is closed")
    progress = _Progress(perf_counter())
    before_writing.set(progress.note_writing)
    try:
        return await _exchange(request, policy, credentials, session, progress)
    except Exception as error:  # every failure of aiohttp and the network becomes data
        # If two sends share a context, the later one gets the events of both, and the earlier can prove nothing.
        written = progress.written or before_writing.get() != progress.note_writing
        kind, sent, message = judge_failure(error, progress.authority, policy, written=written)
        is_local = sent is Sent.NO and lacks_descriptors(error)
        return TransportFailure(kind, message, sent, progress.head, progress.elapsed_ms(), is_local)


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


async def _exchange(
    request: HttpRequest,
    policy: SendPolicy,
    credentials: Credentials | None,
    session: Session,
    progress: _Progress,
) -> HttpResponse:
    url, target = _target(request.url)
    progress.authority = target.authority
    headers = request.headers if credentials is None else credentials.add_to(request.headers, target)
    typed = _check_head(request.method, headers)
    refusal = session.refusal_of_host(target)
    if refusal is not None:
        raise AddressRefusedError(refusal)
    response = await session.client.request(
        request.method,
        url,
        headers=headers,
        skip_auto_headers=None if typed else _NO_CONTENT_TYPE,
        data=_content(request.content),
        allow_redirects=False,
        timeout=_client_timeout(policy.deadline, policy.connect_timeout),
        ssl=_tls(policy) if target.scheme == "https" else True,
    )
    try:
        head = progress.head = head_of(response, progress.elapsed_ms())
        if response.status not in _FINAL_STATUSES:
            raise ReplyRefusedError(f"{response.status}, which is not a final status")
        content = await receive_content(response, policy.max_content)
    except BaseException:
        response.close()  # the rest of the reply must not be read as the next one
        raise
    if not response.closed:  # a reply that was read completely has released its connection
        response.release()
    return HttpResponse(head.status_code, head.reason, head.headers, content, progress.elapsed_ms())


@lru_cache(maxsize=256)
def _target(text: str) -> tuple[URL, Origin]:
    try:
        url = parse_url(text)
        return url, origin_of_parsed(url)
    except ValueError as error:
        raise RequestRefusedError(str(error)) from None


def _check_head(method: str, headers: Headers) -> bool:
    """Refuse before connecting what aiohttp would refuse or encode differently after connecting.

    Returns:
        Whether there is a Content-Type.
    """
    typed = False
    if not _is_token(method):
        raise RequestRefusedError("the method is not a token")
    for name, value in headers:
        if not _is_token(name):
            raise RequestRefusedError("a header's name is not a token")
        # Most values are printable ASCII, which is cheaper to check than the rest.
        if not (value.isascii() and value.isprintable()) and not _FIELD_VALUE.fullmatch(value):
            raise RequestRefusedError(f"the header {name} contains control or non-ASCII characters")
        typed = typed or name.lower() == "content-type"
    return typed


@lru_cache(maxsize=1024)
def _is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def _content(content: bytes) -> bytes | io.BytesIO | None:
    if len(content) > _ONE_WRITE_BYTES:
        return io.BytesIO(content)
    return content or None  # with None, aiohttp sends "Content-Length: 0" for POST, PUT and PATCH (RFC 9110 §8.6)


@lru_cache(maxsize=64)
def _client_timeout(deadline: float, connect_timeout: float) -> aiohttp.ClientTimeout:
    # Without the threshold, aiohttp rounds timeouts above 5 s up to whole seconds of the loop's clock.
    return aiohttp.ClientTimeout(total=deadline, connect=connect_timeout, ceil_threshold=float("inf"))


def _tls(policy: SendPolicy) -> ssl.SSLContext | bool:
    if isinstance(policy.verify, bool) and policy.certificate is None:
        return policy.verify
    return _tls_context(policy.verify, policy.certificate)


@lru_cache(maxsize=64)
def _tls_context(verify: bool | str, certificate: tuple[str, str | None] | None) -> ssl.SSLContext:
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
