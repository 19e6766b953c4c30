"""What a command and its worker processes tell each other, and how it is sent: length-prefixed MessagePack."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct, field

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.progress import Progress
from airflow_whatsapp_flows.replay.refusals import Account, Refusal
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.settings import Settings

T = TypeVar("T")

_LENGTH = 4  # bytes


class Assignment(Struct):
    """What a worker needs to start. It contains secrets, so it is sent and not passed as an argument.

    Attributes:
        ledger_url: URL of the ledger, with its password.
        replay_id: id of the replay.
        flow: the flow file as JSON.
        connections: connections of the command line, by id; others come from the environment.
        settings: settings of the deployment.
        run: the worker's share of the run's settings, see :func:`plain_settings`.
    """

    ledger_url: str
    replay_id: str
    flow: str
    connections: dict[str, str]
    settings: Settings
    run: dict[str, Any]


class ChunkWanted(Struct, tag=True):
    """A worker can take another chunk."""


class ChunkBusy(Struct, tag=True):
    """A chunk that a worker was given belongs to a process of another command."""

    chunk: int


class Report(Struct, tag=True):
    """What a worker has done so far; see :class:`~airflow_whatsapp_flows.replay.progress.Progress`.

    Attributes:
        handled: number of contacts that completed through an error exit.
        refused: the account whose credentials were refused, if the worker stopped for that.
    """

    ended: dict[ContactState, int] = field(default_factory=dict)
    postponed: dict[str, int] = field(default_factory=dict)
    until: list[tuple[dt.datetime, int]] = field(default_factory=list)
    cut_off: dict[Delivery, int] = field(default_factory=dict)
    stopped: str | None = None
    needs_help: bool = False
    handled: int = 0
    in_flight: int = 0
    delayed: int = 0
    refused: Account | None = None

    @property
    def failures(self) -> int:
        """Number of contacts that failed or are in doubt."""
        return self.ended.get(ContactState.FAILED, 0) + self.ended.get(ContactState.IN_DOUBT, 0)

    def without_pending(self) -> Report:
        """Return what remains true when the worker has died: its chunks are walked again by another one."""
        return msgspec.structs.replace(self, postponed={}, until=[], in_flight=0, delayed=0)


class Ended(Struct, tag=True):
    """The last message of a worker.

    Attributes:
        error: why it failed, if it did.
        kind: name of the error's class.
    """

    report: Report
    error: str | None = None
    kind: str = ""


class ChunkGiven(Struct, tag=True):
    """The next chunk of a worker; ``None`` if there is none left."""

    chunk: int | None


class Stop(Struct, tag=True):
    """Start no more requests.

    Attributes:
        reason: why, one sentence for people.
        hurried: whether somebody waits for the end, such as after a signal: then there are a few seconds for requests
            in flight and the last commits.
        refused: the account whose credentials another worker found refused.
    """

    reason: str
    hurried: bool = False
    refused: Account | None = None


class StepAccepted(Struct, tag=True, frozen=True):
    """A request of a step has succeeded for the first time."""

    step: str


class HostAnswered(Struct, tag=True, frozen=True):
    """A host has answered for the first time."""

    host: str


class CredentialsAccepted(Struct, tag=True):
    """A server has accepted the credentials of an account for the first time."""

    account: Account


class Refused(Struct, tag=True):
    """A request was refused, and the worker knows of none that was accepted."""

    refusal: Refusal


FromWorker = ChunkWanted | ChunkBusy | Report | StepAccepted | HostAnswered | CredentialsAccepted | Refused | Ended
ToWorker = ChunkGiven | StepAccepted | HostAnswered | Stop


def plain_settings(settings: RunSettings) -> dict[str, Any]:
    """Return the settings of a run as plain data."""
    return {**asdict(settings), "rates": dict(settings.rates)}


def merge(reports: Iterable[Report]) -> Progress:
    """Return the progress of all workers together; the reason for a stop is the supervisor's."""
    progress = Progress()
    for report in reports:
        progress.ended.update(report.ended)
        progress.postponed.update(report.postponed)
        progress.until.update(dict(report.until))
        progress.cut_off.update(report.cut_off)
    return progress


class Channel(Generic[T]):
    """One end of the connection between a command and a worker. It ends when either process ends.

    Args:
        reader: receives.
        writer: sends.
        decoder: decodes what the other end sends.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, decoder: msgspec.msgpack.Decoder[T]
    ) -> None:
        self._reader, self._writer, self._decoder = reader, writer, decoder

    @classmethod
    async def open(cls, end: socket.socket, decoder: msgspec.msgpack.Decoder[T]) -> Channel[T]:
        """Open a channel over one end of a socket pair."""
        return cls(*await asyncio.open_connection(sock=end), decoder)

    def send(self, message: Struct) -> None:
        """Send a message without waiting; nothing happens if the other process has ended."""
        if not self._writer.is_closing():
            self._writer.write(frame(message))

    async def receive(self) -> T | None:
        """Wait for a message; ``None`` when the other process has ended."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
            return self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def close(self) -> None:
        """Send what is left, and close."""
        try:
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()
        except OSError:
            return


def frame(message: Struct) -> bytes:
    """Return a message as it is sent."""
    content = msgspec.msgpack.encode(message)
    return len(content).to_bytes(_LENGTH, "big") + content


def read_assignment(end: socket.socket) -> Assignment | None:
    """Read the first message of a worker's channel, before its event loop runs; ``None`` if the command has ended."""
    length = _read(end, _LENGTH)
    content = None if length is None else _read(end, int.from_bytes(length, "big"))
    return None if content is None else msgspec.msgpack.decode(content, type=Assignment)


def _read(end: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = end.recv(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)
