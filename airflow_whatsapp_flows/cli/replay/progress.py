"""Progress of a replay on stderr: a bar on a terminal, otherwise a line at intervals."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from airflow_whatsapp_flows.cli.terminal import raw_stderr
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.quantities import duration
from airflow_whatsapp_flows.replay.progress import Progress

_BAR_SECONDS = 0.25
_LINE_SECONDS = 10.0
_RATE_SECONDS = 10.0  # over which the displayed rate is averaged


class Display(Protocol):
    """An output for progress."""

    interval: float
    """Seconds between updates."""

    def show(self, done: int, total: int, text: str) -> None:
        """Show progress: contacts done, their total, and a text with the rest."""


class Runner(Protocol):
    """An engine, or several in workers."""

    @property
    def progress(self) -> Progress:
        """Counts so far."""

    @property
    def in_flight(self) -> int:
        """Number of requests in flight."""

    @property
    def delayed_count(self) -> int:
        """Number of contacts that wait for a delay of the flow."""


@dataclass(slots=True)
class Watched:
    """The progress of a run.

    Attributes:
        total: number of contacts in the replay.
        before: number of contacts that ended before this run.
    """

    runner: Runner
    total: int
    before: int
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def look(self, now: float) -> tuple[int, str]:
        """Return the number of contacts done, and a text with rate, requests in flight, errors and remaining time.

        Args:
            now: seconds of a monotonic clock.
        """
        progress = self.runner.progress
        done = self.before + progress.ended_count
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[0][0] < now - _RATE_SECONDS:
            self._seen.popleft()
        (since, first), errors = self._seen[0], sum(progress.ended[state] for state in _ERRORS)
        rate = (done - first) / (now - since) if now > since else 0.0
        left = self.total - done - sum(progress.postponed.values())
        parts = [f"{rate:,.0f}/s", f"{self.runner.in_flight} in flight", f"{errors:,} errors"]
        if self.runner.delayed_count:
            parts.append(f"{self.runner.delayed_count:,} waiting as long as the flow says")
        elif left > 0 and not rate and not self.runner.in_flight:
            parts.append("waiting for a rate limit, a retry, or a host that is down")
        if rate and left > 0:
            parts.append(f"{duration(left / rate)} left")
        if progress.stopped:
            parts.append("stopping")
        return done, ", ".join(parts)


_ERRORS = (ContactState.FAILED, ContactState.IN_DOUBT)


async def follow(display: Display, watched: Watched) -> None:
    """Show the progress of a run repeatedly until cancelled, then once more."""

    def show() -> None:
        done, text = watched.look(time.monotonic())
        display.show(done, watched.total, text)

    watched.look(time.monotonic())
    try:
        while True:
            await asyncio.sleep(display.interval)
            show()
    finally:
        show()


@dataclass(slots=True)
class Lines:
    """Shows progress as lines of text."""

    interval: float = _LINE_SECONDS

    def show(self, done: int, total: int, text: str) -> None:
        """Print a line."""
        share = f" ({done / total:.0%})" if total else ""
        _say(f"{done:,} of {total:,} done{share}, {text}")


@contextmanager
def display() -> Iterator[Display]:
    """Show progress as a bar if stderr is a terminal, otherwise as lines."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    with _bar("{task.description} {task.completed:,} of {task.total:,}", bar=True) as show:
        yield _Bar(show)


class _Show(Protocol):
    def __call__(self, done: int, total: int | None, text: str) -> None: ...


@dataclass(slots=True)
class _Bar:
    shown: _Show
    interval: float = _BAR_SECONDS

    def show(self, done: int, total: int, text: str) -> None:
        self.shown(done, total, text)


@contextmanager
def show_reading() -> Iterator[RowProgress]:
    """Show how many rows of a source have been read so far."""
    if not sys.stderr.isatty():
        yield RowProgress(None)
        return
    with _bar("reading {task.completed:,} rows", bar=False) as show:
        yield RowProgress(show)


@dataclass(slots=True)
class RowProgress:
    """Callback for the number of rows read so far; shows it at intervals."""

    shown: _Show | None
    _next: float = field(default_factory=lambda: time.monotonic() + _LINE_SECONDS)

    def __call__(self, rows: int) -> None:
        """Show the number if an update is due."""
        if self.shown is not None:
            self.shown(rows, None, "")
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_SECONDS
            _say(f"reading: {rows:,} rows")


@contextmanager
def _bar(template: str, *, bar: bool) -> Iterator[_Show]:
    from rich.console import Console  # slow to import, and only needed on terminals
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = [
        SpinnerColumn(),
        TextColumn(template),
        *([BarColumn(), TextColumn("{task.fields[text]}")] if bar else []),
    ]
    with Progress(*columns, console=Console(file=raw_stderr()), refresh_per_second=4, transient=True) as progress:
        task = progress.add_task("", total=None if not bar else 0, text="")

        def show(done: int, total: int | None, text: str) -> None:
            progress.update(task, completed=done, total=total, text=text)

        yield show


def _say(line: str) -> None:
    with suppress(OSError):  # the reader is gone; the replay continues
        print(line, file=sys.stderr, flush=True)
