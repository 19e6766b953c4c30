"""A replay of several worker processes, started by the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.cli.conftest import COMMAND
from tests.replay.runs import PATIENCE, Run, await_true


@dataclass
class Command:
    """A running command.

    Attributes:
        process: the command itself, in a process group of its own.
        out: its standard output.
        err: its standard error, and that of its workers.
    """

    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        try:
            text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        except OSError:
            return []
        return [int(pid) for pid in text.split()]

    def await_workers(self, number: int) -> list[int]:
        """Wait until it has so many workers."""
        found: list[int] = []

        def are_there() -> bool:
            found[:] = self.workers()
            return len(found) >= number or self.process.poll() is not None

        await_true(are_there)
        return found

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the command and its workers, as a terminal does."""
        os.killpg(self.process.pid, number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; return its exit status."""
        return self.process.wait(timeout)

    def summary(self) -> dict[str, Any]:
        """Return what it printed."""
        found: dict[str, Any] = json.loads(_text(self.out))
        return found

    def errors(self) -> str:
        """Return what it and its workers wrote to standard error."""
        return _text(self.err)


@contextmanager
def command(run: Run, *words: object, workers: int = 2, files: int | None = None) -> Iterator[Command]:
    """Start a command on a replay; whatever is left of it is killed at the end.

    Args:
        files: that it may open at a time.
    """
    limited = [] if files is None else ["sh", "-c", 'ulimit -n "$0"; exec "$@"', str(files)]
    given = [
        "replay", "run", run.flow, "--responses", run.responses, "--ledger", run.ledger, "--replay-id", run.replay_id,
        "--allow-host", "127.0.0.1", "--concurrency", run.concurrency, "--workers", workers, "--format", "json", *words,
    ]  # fmt: skip
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [*limited, *COMMAND, *map(str, given)],
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        running = Command(process, out, err)
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                running.signal_all(signal.SIGKILL)
            process.wait(PATIENCE)


def kill(pid: int) -> bool:
    """``kill -9``; returns whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8")
