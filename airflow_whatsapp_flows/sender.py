"""Performs the effects of a walk: sends an action's request, with retries, and fetches files."""

from __future__ import annotations

import datetime as dt
import mimetypes
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from airflow_whatsapp_flows.connections import ActionConnection, action_connection, connection_from_environment
from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.flow.body import FileContent, FileSource
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, Reply, Sent, TransportFailure
from airflow_whatsapp_flows.flow.secrets import hide
from airflow_whatsapp_flows.flow.walk.deliver import (
    Answer,
    Exchange,
    Intend,
    Note,
    Pause,
    Prepare,
    Recall,
    Rest,
    Step,
    carry_out,
    deliver,
)
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait, Waited
from airflow_whatsapp_flows.settings import Settings, settings_from_environment
from airflow_whatsapp_flows.transport import Credentials, NetworkPolicy, SendPolicy, send_blocking
from airflow_whatsapp_flows.transport.failures import lacks_descriptors

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Maximum bytes of a file in a request; WhatsApp's own limit for media other than documents."""


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request about to be sent.

    Attributes:
        request: has an absolute URL.
        policy: limits on size and time.
        network: allowed hosts and addresses.
        connection: source of the credentials for its own origin, if any.
    """

    request: HttpRequest
    policy: SendPolicy
    network: NetworkPolicy
    connection: ActionConnection | None

    def send(self) -> Reply:
        """Send the request once."""
        return send_blocking(self.request, self.policy, self.credentials, network=self.network)

    @property
    def credentials(self) -> Credentials | None:
        """Return the connection's headers, bound to its own origin."""
        if self.connection is None or not self.connection.headers:
            return None
        return Credentials(self.connection.origin, self.connection.headers)

    def mask_secrets(self, result: ActionResult) -> ActionResult:
        """Mask the connection's secrets in the result: some servers echo what they were sent."""
        sought = self.connection.secrets_hidden_in_replies if self.connection else None
        return result.without(sought) if sought is not None and sought.texts else result

    def conceal(self, text: str) -> str:
        """Mask the connection's secrets in a text."""
        return hide(text, self.connection.secrets_hidden_in_replies.texts) if self.connection else text


@dataclass(frozen=True, slots=True)
class RequestSender:
    """Sends requests, using the available connections within the limits that the operator has set.

    Attributes:
        settings: limits and allowed hosts.
        find_connection: returns the connection of an id, or raises ``ConnectionConfigError``.
        wait: sleeps for a number of seconds: between attempts, and for a delay in the flow.
    """

    settings: Settings
    find_connection: Callable[[str], ActionConnection]
    wait: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        for hosts in (self.settings.allowed_hosts, self.settings.media_hosts):
            NetworkPolicy(allowed=hosts)  # an invalid entry fails before anything is sent

    def do(self, effect: Effect) -> EffectResult:
        """Perform an effect of a walk, including all retries."""
        if isinstance(effect, FetchFile):
            return self.fetch(effect.source, effect.step.timeout)
        if isinstance(effect, Wait):
            if effect.waited_in_replay:
                now = dt.datetime.now(dt.timezone.utc)
                self.wait((effect.ends(now) - now).total_seconds())
            return Waited()
        return self.deliver(effect)

    def deliver(self, effect: SendAction) -> ActionResult:
        """Send the request of an action, with the retries that its rule allows, and classify the outcome.

        Raises:
            ConnectionConfigError: its connection is missing or invalid.
        """
        connection = self.find_connection(effect.request.connection) if effect.request.connection else None
        prepared = self.prepare(connection, effect.request, effect.step.timeout)

        def do(step: Step) -> Answer:
            match step:
                case Prepare():
                    return self.prepare(connection, step.effect.request, effect.step.timeout).request
                case Recall():
                    return []
                case Rest() | Pause():
                    self.wait(step.seconds)
                    return True
                case Intend():
                    return time.time()
                case Exchange():
                    return replace(prepared, request=step.request).send()
                case Note():
                    return None

        return carry_out(deliver(effect, review=lambda result, _: prepared.mask_secrets(result)), do)

    def prepare(
        self, connection: ActionConnection | None, request: HttpRequest, timeout: float, max_content: int | None = None
    ) -> PreparedRequest:
        """Combine a request with everything needed to send it, and check it before anything is recorded or sent.

        Args:
            connection: origin of a relative URL, and credentials for that origin.
            timeout: seconds for the whole exchange; the connection or the operator may set a lower limit.
            max_content: maximum bytes of the decompressed reply; ``response_max_bytes`` by default.

        Raises:
            ConnectionConfigError: the URL is relative and there is no connection, or a setting is invalid.
        """
        if connection is None and request.url.startswith("/"):
            raise ConnectionConfigError(f"{request.url!r} has no host, and no connection gives one")
        if connection is not None:
            request = connection.absolute(request)
            timeout = min(timeout, connection.timeout or timeout)
        policy = SendPolicy(
            deadline=min(timeout, self.settings.request_timeout),
            max_content=max_content or self.settings.response_max_bytes,
            verify=connection.verify if connection else True,
            certificate=connection.certificate if connection else None,
        )
        network = NetworkPolicy(
            allowed=self.settings.allowed_hosts,
            trusted=(connection.origin,) if connection else (),
            proxy=connection.proxy if connection else None,
        )
        return PreparedRequest(request, policy, network, connection)

    def fetch(self, source: FileSource, timeout: float) -> FileContent | TransportFailure:
        """Fetch a file to include in a request: from its URL, or from the allowed folder."""
        if is_web_address(source):
            return file_from_reply(self.download(source, timeout).send())
        return read_local_file(source.url_or_path, self.settings.files_folder)

    def download(self, source: FileSource, timeout: float) -> PreparedRequest:
        """Return the request that downloads a file."""
        prepared = self.prepare(None, HttpRequest("GET", source.url_or_path), timeout, MAX_FILE_BYTES)
        if source.from_answer:
            # The URL is untrusted: hosts allowed for the flow's own requests are not allowed here.
            prepared = replace(prepared, network=NetworkPolicy(allowed=self.settings.media_hosts))
        return prepared


def sender_from_environment() -> RequestSender:
    """Create a sender for use without Airflow: connections and settings come from the environment.

    Raises:
        ConnectionConfigError: a setting is invalid.
    """
    return RequestSender(
        settings_from_environment(), lambda conn_id: action_connection(connection_from_environment(conn_id))
    )


def is_web_address(source: FileSource) -> bool:
    """Whether a file is fetched from a server."""
    return urlsplit(source.url_or_path).scheme in ("http", "https")


def file_from_reply(reply: Reply) -> FileContent | TransportFailure:
    """Return the file in a server's reply, or the reason why there is none."""
    if isinstance(reply, TransportFailure):
        return reply
    if not 200 <= reply.status_code <= 299:
        return _no_file(f"the server of the file answered {reply.status_code} {reply.reason}".strip())
    content_type = reply.header("content-type")
    return FileContent(reply.content, None, content_type.partition(";")[0].strip() if content_type else None)


def read_local_file(path: str, folder: str | None) -> FileContent | TransportFailure:
    """Read a file in the allowed folder; any other path is a failure before sending."""
    if folder is None:
        return _no_file("local files are not allowed; set files_folder in [whatsapp_flows] to their folder")
    root = Path(folder).expanduser().resolve()
    try:
        file = (root / path).resolve()
        if not file.is_relative_to(root):
            return _no_file("the path leads out of files_folder")
        if not file.is_file():
            return _no_file("the file does not exist in files_folder")
        if file.stat().st_size > MAX_FILE_BYTES:
            return _no_file(f"the file has more than {MAX_FILE_BYTES:,} bytes")
        return FileContent(file.read_bytes(), file.name, mimetypes.guess_type(file.name)[0])
    except (OSError, ValueError) as error:
        return _no_file(f"the file cannot be read: {type(error).__name__}", is_local=lacks_descriptors(error))


def _no_file(message: str, *, is_local: bool = False) -> TransportFailure:
    return TransportFailure(ErrorKind.FILE, message, Sent.NO, is_local=is_local)
