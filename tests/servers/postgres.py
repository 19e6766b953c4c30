"""A private PostgreSQL server on a free port of 127.0.0.1, with a temporary data folder."""

from __future__ import annotations

import itertools
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg

HERE = Path(__file__).resolve().parent
INSTALL = HERE / "install_postgres.sh"
REASON = HERE.parent.parent / ".pytest_cache" / "no-postgres.txt"
# Tests needn't survive a crash of the machine. Killed servers still lose nothing.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "100", "max_wal_size": "256MB"}
ROOM = 1_000_000_000
StopMode = Literal["smart", "fast", "immediate"]


class NoPostgresError(RuntimeError):
    """There is no PostgreSQL on this machine; the message says why and what to do."""


class PostgresServer:
    """The handle of a server; made by ``running_postgres``."""

    def __init__(self, keeper: subprocess.Popen[str], port: int) -> None:
        self._keeper = keeper
        self._numbers = itertools.count(1)
        self.port = port
        self.pid = 0

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        with self._administrate() as session:
            session.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def start(self) -> None:
        """Start it again on the same data and port; returns when it accepts connections.

        Raises:
            RuntimeError: it did not start; its last log lines are in the message.
        """
        self.pid = int(self._send_command("start").removeprefix("ready "))

    def stop(self, mode: StopMode = "immediate") -> None:
        """Stop it; returns when all its processes are gone.

        Args:
            mode: ``immediate`` cuts every session, like a crash; ``fast`` rolls them back; ``smart`` waits for them.
        """
        self._send_command(f"stop {mode}")

    @contextmanager
    def outage(self, mode: StopMode = "immediate") -> Iterator[None]:
        """Stop it for the block."""
        self.stop(mode)
        try:
            yield
        finally:
            self.start()

    def terminate_sessions(self) -> int:
        """End every other session, as an administrator or a failing network would; returns how many there were."""
        with self._administrate() as session:
            ended = session.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
        return len(ended)

    def _administrate(self) -> psycopg.Connection:
        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", autocommit=True)

    def _send_command(self, command: str) -> str:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write(command + "\n")
        self._keeper.stdin.flush()
        answer = self._keeper.stdout.readline().strip()
        if not answer or answer.startswith("failed"):
            raise RuntimeError(f"PostgreSQL: {command}: {answer.removeprefix('failed ') or 'its keeper has ended'}")
        return answer


@contextmanager
def running_postgres(folder: Path | None = None, settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """A private server; it ends with the block, and when this process is killed.

    Args:
        folder: where its data folder is made. Default: memory (/dev/shm) if there is room, else the temporary folder.
        settings: added to the defaults, e.g. ``{"fsync": "on"}`` for a measurement on a disk.

    Raises:
        NoPostgresError: it is not installed.
        RuntimeError: it did not start.
    """
    programs = find_programs()
    home = Path(tempfile.mkdtemp(prefix="whatsapp-flows-postgres-", dir=folder or _roomy_folder()))
    port = free_port()
    command = [sys.executable, "-I", str(HERE / "postgres_process.py"), "--programs", str(programs)]
    command += ["--folder", str(home), "--port", str(port), *_user_options(home)]
    command += [f"--set={name}={value}" for name, value in {**SETTINGS, **(settings or {})}.items()]
    # A separate session: Ctrl-C reaches only this process, which then stops the server.
    keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with keeper:
        server = PostgresServer(keeper, port)
        server.start()
        yield server


def find_programs() -> Path:
    """The folder with the server's programs, of the newest version.

    Raises:
        NoPostgresError: there is none.
    """
    in_path = shutil.which("postgres")
    # Debian keeps initdb next to postgres; a link in PATH may be alone.
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for place in [*folders, *([Path(in_path).resolve().parent] if in_path else [])]:
        if all(os.access(place / name, os.X_OK) for name in ("postgres", "initdb")):
            return place
    why = REASON.read_text(encoding="utf-8").strip() if REASON.exists() else f"run {INSTALL.name}, or make servers"
    raise NoPostgresError(f"PostgreSQL is neither in PATH nor in /usr/lib/postgresql: {why}")


def free_port() -> int:
    """A port on which nothing listens, below those that the kernel gives to clients.

    A client's own port can so never take the server's while the server is stopped.
    """
    while True:
        port = random.randint(15_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _version(folder: Path) -> float:
    try:
        return float(folder.parent.name)
    except ValueError:
        return 0


def _roomy_folder() -> Path:
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM:
        return memory
    return Path(tempfile.gettempdir())


def _user_options(home: Path) -> list[str]:
    """Options to run PostgreSQL as another user if this process is root's."""
    if os.geteuid() != 0:
        return []
    user = server_user()
    os.chown(home, user.pw_uid, user.pw_gid)
    return ["--user", str(user.pw_uid), "--group", str(user.pw_gid)]


def server_user() -> pwd.struct_passwd:
    """The user that runs PostgreSQL if this process is root's."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")
