"""The private PostgreSQL server of the tests."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from tests.conftest import REPOSITORY
from tests.servers.postgres import PostgresServer, free_port, running_postgres

OWNER = """
import sys
from pathlib import Path
from tests.servers.postgres import running_postgres
with running_postgres(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the server's user may enter; pytest's own are closed to it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _one(url: str, statement: str) -> object:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        return connection.execute(sqlalchemy.text(statement)).scalar()


def _execute(url: str, *statements: str) -> None:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))


def _ends(pid: int) -> bool:
    """Whether the process ends within ten seconds; the kernel says so."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10)[0])
    finally:
        os.close(handle)


def test_serves_sqlalchemy_immediately(postgres_url: str) -> None:
    assert _one(postgres_url, "SELECT 40 + 2") == 42


def test_each_database_is_new_and_empty(postgres: PostgresServer) -> None:
    first, second = postgres.create_database(), postgres.create_database()
    _execute(first, "CREATE TABLE t (a int)")
    assert _one(second, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


@pytest.mark.alone
def test_it_starts_within_three_seconds(postgres: PostgresServer) -> None:
    begun = time.monotonic()
    with running_postgres() as server:
        assert time.monotonic() - begun < 3
        assert _one(server.url(), "SELECT 1") == 1


@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_commits_survive_a_stop(private: PostgresServer, mode: str) -> None:
    url = private.create_database()
    _execute(url, "CREATE TABLE t (a int)", "INSERT INTO t VALUES (7)")
    private.stop(mode=mode)  # type: ignore[arg-type]
    with pytest.raises(sqlalchemy.exc.OperationalError, match="refused"):
        _one(url, "SELECT a FROM t")
    private.start()
    assert _one(url, "SELECT a FROM t") == 7


def test_refuses_to_start_twice(private: PostgresServer) -> None:
    with pytest.raises(RuntimeError, match="runs already"):
        private.start()


def test_a_failed_start_reports_the_servers_message(postgres: PostgresServer) -> None:
    with pytest.raises(RuntimeError, match="no_such_setting"), running_postgres(settings={"no_such_setting": "1"}):
        pass


def test_terminated_sessions_are_gone(private: PostgresServer) -> None:
    engine = sqlalchemy.create_engine(private.url(), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
        assert private.terminate_sessions() == 1
        with pytest.raises(sqlalchemy.exc.OperationalError):
            connection.execute(sqlalchemy.text("SELECT 1"))


@pytest.mark.skipif(sys.platform != "linux", reason="waits for another's child through a pidfd")
def test_leaves_nothing_behind_when_its_owner_is_killed(postgres: PostgresServer, open_folder: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(open_folder)], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert _ends(pid)
        assert _ends(keeper)
    assert list(open_folder.iterdir()) == []


def test_a_free_port_is_outside_the_ephemeral_range(postgres: PostgresServer) -> None:
    assert 15_000 <= free_port() <= 32_000
