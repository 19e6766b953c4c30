"""Progress of a replay on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from airflow_whatsapp_flows.cli.tables import duration
from airflow_whatsapp_flows.cli.terminal import raw_stderr
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.engine import Engine

_BAR_SECONDS = 0.25
_LINE_SECONDS = 10.0
_RATE_SECONDS = 10.0  # that the shown rate is the mean of


class Display(Protocol):
    """Where progress is shown."""

    interval: float
    """Seconds from one time to the next."""

    def show(self, done: int, total: int, text: str) -> None:
        """Show it: contacts that are done, of how many, and the rest in words."""


@dataclass(slots=True)
class Watched:
    """An engine, and what is told of it.

    Attributes:
        engine: running.
        total: contacts of the replay.
        before: contacts that ended before this run.
    """

    engine: Engine
    total: int
    before: int
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def look(self, now: float) -> tuple[int, str]:
        """Contacts that are done, and rate, requests on their way, errors and the time left in words.

        Args:
            now: seconds of a clock that only grows.
        """
        progress = self.engine.progress
        done = self.before + progress.ended_count
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[0][0] < now - _RATE_SECONDS:
            self._seen.popleft()
        (since, first), errors = self._seen[0], sum(progress.ended[state] for state in _ERRORS)
        rate = (done - first) / (now - since) if now > since else 0.0
        left = self.total - done - sum(progress.postponed.values())
        parts = [f"{rate:,.0f}/s", f"{self.engine.in_flight} in flight", f"{errors:,} errors"]
        if self.engine.delayed_count:
            parts.append(f"{self.engine.delayed_count:,} waiting as long as the flow says")
        elif left > 0 and not rate and not self.engine.in_flight:
            parts.append("waiting for a rate limit, a retry, or a host that is down")
        if rate and left > 0:
            parts.append(f"{duration(left / rate)} left")
        if progress.stopped:
            parts.append("stopping")
        return done, ", ".join(parts)


_ERRORS = (ContactState.FAILED, ContactState.IN_DOUBT)


async def follow(display: Display, watched: Watched) -> None:
    """Show how far an engine is, again and again until cancelled, and then once more."""

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
    """Lines of text."""

    interval: float = _LINE_SECONDS

    def show(self, done: int, total: int, text: str) -> None:
        """Print a line."""
        share = f" ({done / total:.0%})" if total else ""
        _say(f"{done:,} of {total:,} done{share}, {text}")


@contextmanager
def display() -> Iterator[Display]:
    """A bar if stderr is a terminal, else lines."""
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
    """Show how many rows of a source have been read."""
    if not sys.stderr.isatty():
        yield RowProgress(None)
        return
    with _bar("reading {task.completed:,} rows", bar=False) as show:
        yield RowProgress(show)


@dataclass(slots=True)
class RowProgress:
    """Told the number of rows read so far, it shows it now and then."""

    shown: _Show | None
    _next: float = field(default_factory=lambda: time.monotonic() + _LINE_SECONDS)

    def __call__(self, rows: int) -> None:
        """Show the number, if it is time to."""
        if self.shown is not None:
            self.shown(rows, None, "")
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_SECONDS
            _say(f"reading: {rows:,} rows")


@contextmanager
def _bar(template: str, *, bar: bool) -> Iterator[_Show]:
    from rich.console import Console  # takes a moment to import, and is for terminals alone
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
    with suppress(OSError):  # nobody reads it; the replay goes on
        print(line, file=sys.stderr, flush=True)
