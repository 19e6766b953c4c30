"""The keeper of one private PostgreSQL: started by ``tests.servers.postgres``, and gone when its parent is gone.

It reads commands on its standard input and answers each with one line: ``start`` → ``ready PID``, ``stop MODE`` →
``stopped``; what fails is answered ``failed REASON``. At the end of input, which also comes when the parent is killed,
it stops the server and removes the folder. It needs the standard library only.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

MODES = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
READY = "database system is ready to accept connections"


class Keeper:
    """One data folder and the server on it, if it runs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._data = Path(options.folder) / "data"
        self._server: subprocess.Popen[str] | None = None
        self._drain: threading.Thread | None = None
        self._said: collections.deque[str] = collections.deque(maxlen=20)

    def start(self) -> str:
        if self._server is not None and self._server.poll() is None:
            return "failed it runs already"
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", *self._options.set]
        command = [f"{self._options.programs}/postgres", "-D", str(self._data), "-p", str(self._options.port)]
        for setting in settings:
            command += ["-c", setting]
        self._server = self._run(command)
        ready = threading.Event()
        self._drain = threading.Thread(target=self._read, args=(self._server, ready), daemon=True)
        self._drain.start()
        ready.wait()
        if self._server.poll() is not None or not self._drain.is_alive():
            return f"failed {' / '.join(self._said)}"
        return f"ready {self._server.pid}"

    def stop(self, mode: str) -> str:
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                self._server.send_signal(MODES[mode])
            self._server.wait()
            # Its children hold the same pipe: they are gone when it ends.
            assert self._drain is not None
            self._drain.join()
            self._server = None
        return "stopped"

    def _initialise(self) -> None:
        command = [f"{self._options.programs}/initdb", "--no-sync", "-A", "trust", "-U", "postgres"]
        made = self._run([*command, "-E", "UTF8", "--locale=C", "-D", str(self._data)])
        said, _ = made.communicate()
        if made.returncode != 0:
            raise RuntimeError(" / ".join(said.splitlines()))

    def _run(self, command: list[str]) -> subprocess.Popen[str]:
        # PostgreSQL refuses to run as root.
        other = {}
        if self._options.user is not None:
            other = {"user": self._options.user, "group": self._options.group, "extra_groups": []}
        return subprocess.Popen(
            command,
            cwd=self._options.folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **other,
        )

    def _read(self, server: subprocess.Popen[str], ready: threading.Event) -> None:
        assert server.stdout is not None
        with server.stdout:
            for line in server.stdout:
                self._said.append(line.strip())
                if READY in line:
                    ready.set()
        server.wait()
        ready.set()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", type=int)
    parser.add_argument("--group", type=int)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    keeper = Keeper(options)
    try:
        for line in sys.stdin:
            command, _, argument = line.strip().partition(" ")
            try:
                answer = keeper.start() if command == "start" else keeper.stop(argument)
            except (OSError, RuntimeError, KeyError) as error:
                answer = f"failed {error}"
            # A parent that was killed reads no more; the end of input comes next.
            with contextlib.suppress(BrokenPipeError):
                print(answer, flush=True)
    finally:
        keeper.stop("immediate")
        shutil.rmtree(options.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
