"""Starts a worker process, and awaits its end."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field

import msgspec

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.replay.workers.messages import Channel, FromWorker, Report

_EXIT_SECONDS = 5.0  # for a process whose channel has ended
_POLL_SECONDS = 0.01


@dataclass(eq=False)
class Worker:
    """One process.

    Attributes:
        channel: to it.
        chunks: those it was given, done or not.
        wants_chunk: whether it waits for one.
        report: its last one.
    """

    process: subprocess.Popen[bytes]
    channel: Channel[FromWorker]
    chunks: set[int] = field(default_factory=set)
    wants_chunk: bool = False
    report: Report = field(default_factory=Report)

    @classmethod
    async def start(cls, command: list[str]) -> Worker:
        """Start a process.

        Args:
            command: arguments of Python.

        Raises:
            ReplayError: the system has no file, process, or memory left for it.
        """
        try:
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    process = _spawn(command, theirs)
                return cls(process, await Channel.open(ours, msgspec.msgpack.Decoder(FromWorker)))
            except BaseException:
                ours.close()  # which ends the process, if there is one
                raise
        except (OSError, RuntimeError) as error:
            raise not_started(error) from error

    async def await_exit(self) -> int:
        """Wait until the process has ended, or kill it; return its exit status."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _EXIT_SECONDS
        while (status := self.process.poll()) is None:
            if loop.time() >= deadline:
                self.process.kill()
            await asyncio.sleep(_POLL_SECONDS)
        return status


def not_started(error: Exception) -> ReplayError:
    """Return the error to raise if the system refuses a process or thread."""
    return ReplayError(
        f"a worker process could not be started: {error}; the rest stays pending: rerun the same command"
    )


def _spawn(command: list[str], channel: socket.socket) -> subprocess.Popen[bytes]:
    # A terminal sends SIGINT to all processes. It stays blocked in the new one until that ignores it, see main().
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        # The channel is its standard input: no other process gets it, and it needs no argument.
        return subprocess.Popen([sys.executable, *command], stdin=channel.fileno(), stdout=subprocess.DEVNULL)  # noqa: S603
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)
