"""A StatsD server for tests: receives what Airflow sends over UDP."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter

PREFIX = "airflow.whatsapp_flows."
DURATION = "requests.duration"
_QUIET = 0.2  # seconds; loopback delivers at once


class StatsdListener:
    """Receives the metrics of this package on a free port of the loopback interface, and drops all others."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(_QUIET)
        self.port = self._socket.getsockname()[1]
        self._lines: list[str] = []
        self._last = 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def settings(self) -> dict[str, str]:
        """The settings with which Airflow sends its metrics here, as environment variables."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self.port),
        }

    def read(self) -> tuple[Counter[str], list[float]]:
        """What arrived since the last time: counts by name, and durations."""
        self._last = time.monotonic()
        while time.monotonic() - self._last < _QUIET:
            time.sleep(_QUIET / 4)
        lines, self._lines = self._lines, []
        counts: Counter[str] = Counter()
        durations: list[float] = []
        for line in lines:
            name, _, rest = line.removeprefix(PREFIX).partition(":")
            value, _, kind = rest.partition("|")
            if kind.startswith("ms"):
                assert name == DURATION
                durations.append(float(value))
            else:
                counts[name] += int(value)
        return counts, durations

    def close(self) -> None:
        """Free the port."""
        self._closed.set()
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while not self._closed.is_set():
            try:
                text = self._socket.recv(65_536).decode()
            except TimeoutError:
                continue
            if own := [line for line in text.splitlines() if line.startswith(PREFIX)]:
                self._lines += own
                self._last = time.monotonic()
