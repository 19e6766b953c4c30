"""Interprets aiohttp's exceptions: what happened, and whether the server may have received the request."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl

import aiohttp

from airflow_whatsapp_flows.flow.request.messages import ErrorKind, Sent
from airflow_whatsapp_flows.transport.connector import AddressRefusedError
from airflow_whatsapp_flows.transport.content_coding import ContentTooLargeError, ContentUnreadableError
from airflow_whatsapp_flows.transport.policy import SendPolicy
from airflow_whatsapp_flows.transport.reply_head import MAX_HEAD_BYTES, HeadTooLargeError


class RequestRefusedError(Exception):
    """The request is invalid; the message says why."""


class TlsFilesError(Exception):
    """A certificate file cannot be used; the message names it."""


class ReplyRefusedError(Exception):
    """The server did not send a valid final reply; the message says why."""


Verdict = tuple[ErrorKind, Sent, str]
"""What failed, whether the request may have arrived, and a message."""


def judge_failure(error: Exception, authority: str, policy: SendPolicy, *, written: bool) -> Verdict:
    """Interpret an error.

    No message contains text of the server, the request or aiohttp, because that may quote URLs and headers.

    Args:
        error: the exception, raised at any point between checking the request and the last byte of the reply.
        authority: host and port, for the message.
        policy: policy with the limits that the message names.
        written: whether any of the request may have been written. If not, it was provably not sent.
    """
    if isinstance(error, AddressRefusedError):
        return ErrorKind.POLICY, Sent.NO, str(error)
    if isinstance(error, RequestRefusedError):
        return ErrorKind.PROTOCOL, Sent.NO, f"nothing was sent to {authority}: {error}"
    if isinstance(error, TlsFilesError):
        return ErrorKind.TLS, Sent.NO, f"nothing was sent to {authority}: {error}"
    if isinstance(error, ContentTooLargeError):
        return ErrorKind.TOO_LARGE, Sent.YES, f"the reply of {authority} is larger than {policy.max_content} bytes"
    if isinstance(error, ContentUnreadableError):
        return ErrorKind.UNPARSABLE, Sent.YES, f"the reply of {authority} cannot be read: {error}"
    if not written:
        return _before_writing(error, authority, min(policy.connect_timeout, policy.deadline))
    return _after_writing(error, authority, policy.deadline)


def lacks_descriptors(error: BaseException | None) -> bool:
    """Whether an error means that no file descriptor was free for a connection."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            return True
        error = getattr(error, "os_error", None) or error.__cause__ or error.__context__
    return False


def _before_writing(error: Exception, authority: str, seconds: float) -> Verdict:
    # TimeoutError comes first: since Python 3.11 it is an OSError too.
    if isinstance(error, asyncio.TimeoutError):
        return ErrorKind.TIMEOUT, Sent.NO, f"no connection to {authority} within {seconds:g} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "not valid"
        return ErrorKind.TLS, Sent.NO, f"the certificate of {authority} was rejected: {reason}"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return ErrorKind.TLS, Sent.NO, f"no TLS connection to {authority}: {_tls_reason(error)}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ErrorKind.CONNECT, Sent.NO, f"the host of {authority} was not found: {_system_reason(error)}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ErrorKind.CONNECT, Sent.NO, f"the proxy answered {error.status} and did not connect to {authority}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ErrorKind.CONNECT, Sent.NO, f"no connection to the proxy for {authority}: {_system_reason(error)}"
    if isinstance(error, aiohttp.ClientConnectionError | OSError) and not isinstance(error, ValueError):
        return ErrorKind.CONNECT, Sent.NO, f"no connection to {authority}: {_system_reason(error)}"
    return (
        ErrorKind.PROTOCOL,
        Sent.NO,
        f"nothing was sent to {authority}: the request is not valid ({type(error).__name__})",
    )


def _after_writing(error: Exception, authority: str, seconds: float) -> Verdict:
    if isinstance(error, asyncio.TimeoutError):
        return ErrorKind.TIMEOUT, Sent.UNKNOWN, f"no complete reply from {authority} within {seconds:g} s"
    if isinstance(error, ReplyRefusedError):
        return ErrorKind.PROTOCOL, Sent.UNKNOWN, f"{authority} replied with {error}"
    if isinstance(error, HeadTooLargeError):
        return (
            ErrorKind.PROTOCOL,
            Sent.UNKNOWN,
            f"the head of the reply of {authority} is larger than {MAX_HEAD_BYTES} bytes",
        )
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        return (
            ErrorKind.TLS,
            Sent.UNKNOWN,
            f"{authority} closed the TLS connection after the request was written: {_tls_reason(error)}",
        )
    if isinstance(error, aiohttp.ClientPayloadError):
        return ErrorKind.INTERRUPTED, Sent.UNKNOWN, f"the reply of {authority} is incomplete or has invalid framing"
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return ErrorKind.INTERRUPTED, Sent.UNKNOWN, f"{authority} closed the connection without a complete reply"
    return (
        ErrorKind.PROTOCOL,
        Sent.UNKNOWN,
        f"{authority} replied with something that is not HTTP ({type(error).__name__})",
    )


def _system_reason(error: Exception) -> str:
    system = getattr(error, "os_error", error)
    text = getattr(system, "strerror", None) if isinstance(system, OSError) else None
    number = getattr(system, "errno", None)
    if isinstance(number, int) and number > 0:  # asyncio's own text lists addresses and attempts
        return os.strerror(number).lower()
    return str(text).lower() if text else "the connection was closed"


def _tls_reason(error: Exception) -> str:
    for candidate in (getattr(error, "os_error", None), error.__cause__, error):
        if isinstance(candidate, ssl.SSLError) and candidate.reason:
            return candidate.reason.replace("_", " ").lower()
    return "the handshake failed"
