"""A CRM in its own process that logs every complete request before it replies, with configurable faults.

It survives when the client under test is killed; its log is the truth that a ledger is checked against::

    with running_crm(tmp_path / "crm.log", shares={"drop": 0.05}, dedupe=True) as crm:
        ...
        crm.configure(dedupe=True)
        assert crm.requests()[0].applied

The faults are those of ``tests.servers.crm_faults.Faults``.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.servers.crm_faults import Faults

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Logged:
    """One complete request, as the server logged it.

    Attributes:
        t: when it was complete, in nanoseconds of the monotonic clock.
        n: its number, from 1.
        key: its Idempotency-Key.
        contact: whom it is about, by header or by field.
        body_hash: SHA-256 of its body, in hexadecimal.
        status: of the reply that was made, also when it was not delivered.
        applied: whether it changed the CRM.
        reply: ``sent``, or ``dropped`` if the client cannot have got all of it.
        deduped: whether its key was known, so that it got the saved reply.
        fault: what went wrong on purpose: one of ``crm_faults.SHARES``, ``rate``, ``other_body`` or None.
    """

    t: int
    n: int
    method: str
    path: str
    key: str | None
    contact: str | None
    body_hash: str
    status: int
    applied: bool
    reply: str
    deduped: bool = False
    fault: str | None = None


class CrmProcess:
    """The handle of a running CRM; made by ``running_crm``."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self._log = log
        self.pid = process.pid
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}"

    def configure(self, **faults: Any) -> None:
        """Replace all faults; without any, it serves well. What it saved under keys stays.

        Args:
            faults: the attributes of ``Faults``.

        Raises:
            ValueError: they are not allowed.
        """
        self._control("POST", faults)

    def counts(self) -> dict[str, float]:
        """``requests``, ``applied``, and ``cpu_seconds`` of the server."""
        return self._control("GET", None)

    def requests(self) -> list[Logged]:
        """All complete requests so far, in order."""
        if not self._log.exists():
            return []
        # The text after the last newline is still being written.
        whole, _, _ = self._log.read_text(encoding="utf-8").rpartition("\n")
        return [Logged(**json.loads(line)) for line in whole.splitlines()]

    def _control(self, method: str, value: Any) -> dict[str, float]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, "/_control", None if value is None else json.dumps(value))
            reply = connection.getresponse()
            content: dict[str, Any] = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status != 200:
            raise ValueError(content["error"])
        return content


@contextmanager
def running_crm(log: Path, **faults: Any) -> Iterator[CrmProcess]:
    """A CRM on a free port of 127.0.0.1; it ends with the block, and when this process is killed.

    Args:
        log: file to which it appends one JSON line per complete request.
        faults: the attributes of ``Faults``; changed later with ``configure()``.

    Raises:
        ValueError: faults that are not allowed.
        RuntimeError: it did not start; its own message is on stderr.
    """
    config = json.dumps(asdict(Faults.of(faults)))
    # A separate session: Ctrl-C reaches only this process. Its end closes the pipe that the CRM watches.
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.crm_server", str(log.absolute()), config],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        ready, _, port = process.stdout.readline().partition(" ")
        if ready != "ready":
            raise RuntimeError("the CRM ended before it was ready")
        yield CrmProcess(process, int(port), log)
