"""Replays in separate processes against a logging CRM, checked afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.replay.checker import Attempt, Contact, History, violations
from tests.replay.ledger_history import read_attempts, read_contacts, read_states
from tests.replay.shapes import SHAPES
from tests.servers.crm_log import REPOSITORY, CrmProcess

PATIENCE = 60.0
"""Seconds that any process may take; a test that needs less says so."""


@dataclass
class Run:
    """One replay, run by any number of processes.

    Attributes:
        folder: for its files.
        crm: that it sends to.
        ledger: SQLAlchemy URL.
        shape: name of its flow.
        total: contacts.
        concurrency: of each process.
        kills: processes that were killed so far.
        replay_id: its name.
    """

    folder: Path
    crm: CrmProcess
    ledger: str
    shape: str = "post"
    total: int = 20
    concurrency: int = 8
    kills: int = 0
    replay_id: str = "the-replay"
    settings: dict[str, Any] = field(default_factory=dict)
    begin: dict[str, Any] = field(default_factory=dict)
    flow_keys: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.responses = self.folder / "responses.jsonl"
        self.flow = self.folder / "crm_flow.json"
        self.write_responses(response(number) for number in range(self.total))
        steps = json.loads(json.dumps(SHAPES[self.shape].steps).replace("{url}", self.crm.url))
        flow = {"flow_format": 1, "id": "crm_flow", "steps": steps, **self.flow_keys}
        self.flow.write_text(json.dumps(flow), encoding="utf-8")

    def write_responses(self, responses: Iterator[Mapping[str, Any]]) -> None:
        """Replace the source."""
        lines = [json.dumps(one) + "\n" for one in responses]
        self.total = len(lines)
        self.responses.write_text("".join(lines), encoding="utf-8")

    def change_flow(self, old: str, new: str) -> None:
        """Replace a part of the flow file, which must be there."""
        text = self.flow.read_text(encoding="utf-8")
        assert old in text
        self.flow.write_text(text.replace(old, new), encoding="utf-8")

    def start(
        self,
        point: str | None = None,
        passing: int = 1,
        *,
        whose: str = "",
        clock: float = 0,
        breaker: Mapping[str, float] | None = None,
        files: int | None = None,
        hog: float = 0,
        **settings: Any,
    ) -> Running:
        """Start a process that runs or resumes the replay.

        Args:
            point: at which it ends itself; see ``crashing.POINTS``.
            passing: which time that it comes by there.
            whose: what an entry must show for its commit to count as a passing.
            clock: seconds that its clock is ahead.
            breaker: of its circuit breakers: threshold, interval and patience.
            files: that it may open at a time.
            hog: seconds for which something else in it holds all of them, from the first request on.
            settings: of ``RunSettings``.
        """
        spec = {
            "flow": str(self.flow),
            "responses": str(self.responses),
            "ledger": self.ledger,
            "replay_id": self.replay_id,
            "begin": self.begin,
            "settings": {"concurrency": self.concurrency, **self.settings, **settings},
            "point": point,
            "passing": passing,
            "whose": whose,
            "clock": clock,
            "breaker": breaker,
            "files": files,
            "hog": hog,
        }
        file = self.folder / f"run-{time.monotonic_ns()}.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        return Running(file)

    def interrupt(self, number: signal.Signals, *, after: int, timeout: float) -> Ended:
        """Start a process, send it a signal when the CRM has received so many requests, and wait for its end."""
        with self.start() as running:
            await_requests(self.crm, after)
            running.signal(number)
            return running.wait(timeout)

    def finish(self, *, timeout: float = PATIENCE, **arguments: Any) -> Ended:
        """Start a process and wait for its end."""
        with self.start(**arguments) as running:
            return running.wait(timeout)

    def kill_until_done(self, kills: int, chance: random.Random, most: int) -> None:
        """Kill processes at random moments, and let a last one finish.

        Args:
            kills: how many, as long as the replay has not finished.
            chance: draws the moments.
            most: requests that the CRM has received from a process when it is killed. Requests, not seconds, so that
                a fast machine doesn't finish before the last kill.
        """
        for _ in range(kills):
            with self.start() as running:
                running.await_running()
                due = self.crm.counts()["requests"] + chance.randrange(most + 1)
                while running.process.poll() is None and self.crm.counts()["requests"] < due:
                    time.sleep(0.001)
                time.sleep(chance.uniform(0, 0.02))  # anywhere between two requests
                if not running.kill():
                    break
                self.kills += 1
        ended = self.finish()
        assert ended.status == 0, ended

    def states(self) -> Counter[str]:
        """How many contacts are in each state."""
        return read_states(self.ledger, self.replay_id)

    def contacts(self) -> list[Contact]:
        """The contacts, as the ledger has them."""
        return read_contacts(self.ledger, self.replay_id)

    def attempts(self) -> list[Attempt]:
        """The attempts, as the ledger has them."""
        return read_attempts(self.ledger)

    def broken_promises(self, *, finished: bool = True, **compared: Any) -> list[str]:
        """The findings of the checker.

        Args:
            finished: whether nothing may be pending.
            compared: more of ``checker.History``.
        """
        shape = SHAPES[self.shape]
        history = History(
            contacts=self.contacts(),
            attempts=self.attempts(),
            log=self.crm.requests(),
            steps=shape.paths,
            delivery=shape.delivery,
            total=self.total,
            safe=shape.safe,
            finished=finished,
            concurrency=self.concurrency,
            **{"kills": self.kills, **compared},
        )
        return violations(history)


@dataclass(frozen=True)
class Ended:
    """The end of a process.

    Attributes:
        status: 0 finished, 4 some are pending, 1 an error, 137 ended at a point, negative: killed by a signal.
        told: its last line, if any.
        errors: what it wrote to stderr.
        seconds: that it took since the last call of :meth:`Running.mark`, or its start.
    """

    status: int
    told: dict[str, Any]
    errors: str
    seconds: float


class Running:
    """A process that runs a replay; killed at the end of the block if it has not ended."""

    def __init__(self, spec: Path) -> None:
        self._errors = spec.with_suffix(".err").open("w+", encoding="utf-8")
        command = [sys.executable, "-m", "tests.replay.crashing", str(spec)]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=self._errors, text=True, start_new_session=True
        )
        self._lines: list[str] = []
        self._is_running = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.mark()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()

    def mark(self) -> None:
        """Restart the count of seconds."""
        self._marked_at = time.monotonic()

    def await_running(self) -> None:
        """Wait until contacts are walked, or the process has ended."""
        assert self._is_running.wait(PATIENCE), "it did not begin"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; seconds count from now."""
        self.mark()
        self.process.send_signal(number)

    def kill(self) -> bool:
        """``kill -9``; returns whether it was still alive."""
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait(PATIENCE) == -signal.SIGKILL

    def wait(self, timeout: float = PATIENCE) -> Ended:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time.
        """
        status = self.process.wait(timeout)
        seconds = time.monotonic() - self._marked_at
        self._reader.join(PATIENCE)
        self._errors.flush()
        self._errors.seek(0)
        last = self._lines[-1] if self._lines else ""
        return Ended(status, json.loads(last) if last.startswith("{") else {}, self._errors.read(), seconds)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)
            self._is_running.set()
        self._is_running.set()


def response(number: int, **keys: Any) -> dict[str, Any]:
    """A contact response with its own phone number and every value that the shapes use."""
    contact = {"phone": f"+5255{number:08}", "first_name": f"Person {number}"}
    return {"id": f"r-{number:05}", "contact": contact, **keys}


def sqlite_url(folder: Path) -> str:
    """A new ledger in a file."""
    return f"sqlite:///{folder / 'ledger.db'}"


def await_true(is_so: Callable[[], bool], timeout: float = PATIENCE, told: Callable[[], object] = str) -> None:
    """Wait until a condition is true.

    Args:
        told: returns what a failure shows.
    """
    end = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < end, f"not true within {timeout:g} s {told()}"
        time.sleep(0.005)


def await_requests(crm: CrmProcess, count: int, timeout: float = PATIENCE) -> None:
    """Wait until the CRM has seen so many requests."""
    await_true(lambda: crm.counts()["requests"] >= count, timeout, lambda: f"{crm.counts()}; {count} were awaited")


def suspend_between_commits(pid: int, ledger: Path) -> None:
    """Suspend a process while it holds no lock of an SQLite ledger, which would block everybody else."""

    def is_suspended() -> bool:
        os.kill(pid, signal.SIGSTOP)
        await_true(lambda: _thread_states(pid) == {"T"})
        try:
            with closing(sqlite3.connect(ledger, timeout=0.2, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError:  # it holds the lock of a commit
            os.kill(pid, signal.SIGCONT)
            return False
        return True

    await_true(is_suspended)


def _thread_states(pid: int) -> set[str]:
    """The states of all threads of a process, as letters."""
    found = set()
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError):
            found.add(file.read_text(encoding="utf-8").rpartition(")")[2].split()[0])
    return found
