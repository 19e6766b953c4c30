"""Interprets exceptions: what happened, and whether the server may have received the request."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl

from airflow_whatsapp_flows.flow.request.messages import ErrorKind, Sent
from airflow_whatsapp_flows.transport.connector import ProxyRefusedError, ProxyUnreachableError, TlsFilesError
from airflow_whatsapp_flows.transport.content_coding import ContentTooLargeError, ContentUnreadableError
from airflow_whatsapp_flows.transport.policy import SendPolicy
from airflow_whatsapp_flows.transport.reply_reader import (
    MAX_HEAD_BYTES,
    BrokenContentError,
    HeadTooLargeError,
    ReplyRefusedError,
)
from airflow_whatsapp_flows.transport.request_head import RequestRefusedError
from airflow_whatsapp_flows.transport.resolver import AddressRefusedError, NameNotFoundError

Verdict = tuple[ErrorKind, Sent, str]
"""What failed, whether the request may have arrived, and a message."""


def judge_failure(error: Exception, authority: str, policy: SendPolicy, *, written: bool) -> Verdict:
    """Interpret an error.

    No message contains text of the server, the request or a library, because that may quote URLs and headers.

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
        error = error.__cause__ or error.__context__
    return False


def _before_writing(error: Exception, authority: str, seconds: float) -> Verdict:
    # TimeoutError comes first: since Python 3.11 it is an OSError too.
    if isinstance(error, asyncio.TimeoutError):
        return ErrorKind.TIMEOUT, Sent.NO, f"no connection to {authority} within {seconds:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return ErrorKind.TLS, Sent.NO, f"the certificate of {authority} was rejected: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return ErrorKind.TLS, Sent.NO, f"no TLS connection to {authority}: {_tls_reason(error)}"
    if isinstance(error, NameNotFoundError):
        return ErrorKind.CONNECT, Sent.NO, f"the host of {authority} was not found: {_system_reason(error)}"
    if isinstance(error, ProxyRefusedError):
        return ErrorKind.CONNECT, Sent.NO, f"the proxy answered {error} and did not connect to {authority}"
    if isinstance(error, ProxyUnreachableError):
        return (
            ErrorKind.CONNECT,
            Sent.NO,
            f"no connection to the proxy for {authority}: {_system_reason(error.__cause__)}",
        )
    if isinstance(error, OSError):
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
    if isinstance(error, ssl.SSLError):
        return (
            ErrorKind.TLS,
            Sent.UNKNOWN,
            f"{authority} closed the TLS connection after the request was written: {_tls_reason(error)}",
        )
    if isinstance(error, BrokenContentError):
        return ErrorKind.INTERRUPTED, Sent.UNKNOWN, f"the reply of {authority} has invalid framing"
    if isinstance(error, OSError):
        return ErrorKind.INTERRUPTED, Sent.UNKNOWN, f"{authority} closed the connection without a complete reply"
    return ErrorKind.PROTOCOL, Sent.UNKNOWN, f"{authority} replied with something that is not HTTP"


def _system_reason(error: BaseException | None) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:  # asyncio's own text lists addresses and attempts
        return os.strerror(number).lower()
    return str(getattr(error, "strerror", None) or "the connection was closed").lower()


def _tls_reason(error: ssl.SSLError) -> str:
    return (error.reason or "the handshake failed").replace("_", " ").lower()
