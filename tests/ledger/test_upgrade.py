"""Upgrading a ledger of an earlier release: automatically, by command, or not while others use it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine, func, select, update

from airflow_whatsapp_flows.errors import LedgerError, OnceClaimedError
from airflow_whatsapp_flows.ledger import Journal, Ledger, Subject
from airflow_whatsapp_flows.ledger import upgrade as upgrading
from airflow_whatsapp_flows.ledger.locks import lock_number
from airflow_whatsapp_flows.ledger.replays import find_replay, list_replays, tally
from airflow_whatsapp_flows.ledger.results import contact_results
from airflow_whatsapp_flows.ledger.rows import OnceClaim
from airflow_whatsapp_flows.ledger.schema import SCHEMA_VERSION, once, replays
from airflow_whatsapp_flows.ledger.upgrade import Upgrade, found_version, upgrade
from tests.ledger.filling import intent
from tests.ledger.old_ledgers import make_ledger, rows_of
from tests.servers.postgres import PostgresServer


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    make_ledger(f"sqlite:///{tmp_path / 'l.db'}")
    return tmp_path / "l.db"


@pytest.fixture
def old_server(postgres: Any) -> str:
    url: str = postgres.create_database()
    make_ledger(url)
    return url


def without_new_columns(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    new = {"epoch", "step_id", "content", "cleared_by", "requests", "retry_no"}
    return {table: [{k: v for k, v in row.items() if k not in new} for row in rows] for table, rows in found.items()}


@pytest.fixture
def other_process(old_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has the file open."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "c.execute('SELECT version FROM whatsapp_flows_ledger').fetchone(); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(old_file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    yield process
    process.communicate()


def test_opening_upgrades_an_old_file_and_keeps_a_copy(old_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{old_file}"
    before = rows_of(url)

    with caplog.at_level(logging.WARNING), Ledger(url) as ledger:
        assert [replay.id for replay in list_replays(ledger)] == ["stopped", "second", "first"]
        first = find_replay(ledger, "first")
        assert first is not None
        assert {state.value: n for state, n in tally(ledger, first.no).states.items() if n} == {
            "completed": 3, "failed": 1, "in_doubt": 2, "rejected": 2, "skipped": 1,
        }  # fmt: skip
        assert next(contact_results(ledger, first)).actions[0].outcome == "success"

    backup = old_file.with_name("l.db.v1-backup")
    assert f"from version 1 to {SCHEMA_VERSION}; a copy from before the upgrade is in {backup}" in caplog.text
    assert without_new_columns(rows_of(url)) == before == rows_of(f"sqlite:///{backup}")
    assert found_version(f"sqlite:///{backup}") == 1
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert not list(old_file.parent.glob("*.part"))


def test_an_earlier_backup_is_not_overwritten(old_file: Path) -> None:
    old_file.with_name("l.db.v1-backup").write_text("mine")

    done = upgrade(f"sqlite:///{old_file}")

    assert done == Upgrade(1, SCHEMA_VERSION, old_file.with_name("l.db.v1-backup-2"))
    assert old_file.with_name("l.db.v1-backup").read_text() == "mine"
    assert upgrade(f"sqlite:///{old_file}") == Upgrade(SCHEMA_VERSION, SCHEMA_VERSION)


def test_a_file_that_another_process_uses_is_not_upgraded(
    old_file: Path, other_process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrading, "_ALONE_SECONDS", 0.2)
    url = f"sqlite:///{old_file}"
    for opening in (Ledger, upgrade):
        with pytest.raises(
            LedgerError, match=rf"another process is using it.*`whatsapp-flows ledger upgrade --ledger {url}`"
        ):
            opening(url)
    assert found_version(url) == 1
    assert not old_file.with_name("l.db.v1-backup").exists()

    other_process.communicate()
    assert upgrade(url).version == SCHEMA_VERSION


def test_concurrent_opens_upgrade_an_old_file_once(old_file: Path) -> None:
    code = (
        "import sys; from airflow_whatsapp_flows.ledger import Ledger; sys.stdin.read(1); "
        "ledger = Ledger(sys.argv[1]); ledger.read().__enter__(); ledger.close()"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{old_file}"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]

    ended = []
    threads = [threading.Thread(target=lambda p=p: ended.append(p.communicate(b"x")[1])) for p in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [process.returncode for process in processes] == [0] * 4, ended
    assert found_version(f"sqlite:///{old_file}") == SCHEMA_VERSION
    assert len(list(old_file.parent.glob("*-backup*"))) == 1


@pytest.mark.parametrize("where", ["copy_database", "upgrade_tables"])
def test_an_upgrade_that_fails_leaves_the_old_file_usable(
    old_file: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    url = f"sqlite:///{old_file}"
    before = rows_of(url)
    real = getattr(upgrading, where)

    def fail(*arguments: Any) -> None:
        real(*arguments)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(upgrading, where, fail)
        with pytest.raises(LedgerError, match=r"cannot be upgraded: .*No space left on device; it was not changed"):
            Ledger(url)

    assert (found_version(url), rows_of(url)) == (1, before)
    with contextlib.closing(sqlite3.connect(old_file)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE '%alembic'").fetchone() == (0,)
    assert upgrade(url).version == SCHEMA_VERSION


def test_an_upgrade_that_is_killed_leaves_the_old_file_usable(old_file: Path) -> None:
    url = f"sqlite:///{old_file}"
    before = rows_of(url)
    code = (
        "import os, signal, sys; from airflow_whatsapp_flows.ledger import upgrade as upgrading\n"
        "real = upgrading.upgrade_tables\n"
        "def kill(*a): real(*a); os.kill(os.getpid(), signal.SIGKILL)\n"
        "upgrading.upgrade_tables = kill; upgrading.upgrade(sys.argv[1])"
    )

    assert subprocess.run([sys.executable, "-c", code, url], check=False).returncode == -9

    assert (found_version(url), rows_of(url)) == (1, before)
    assert upgrade(url).version == SCHEMA_VERSION


def test_a_read_only_old_file_explains_how_to_upgrade(old_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("database", "upgrade"):
        monkeypatch.setattr(f"airflow_whatsapp_flows.ledger.{module}.is_read_only", lambda _: True)
    for opening in (Ledger, upgrade):
        with pytest.raises(
            LedgerError, match=r"run `whatsapp-flows ledger upgrade .*`, as a user with write permission for the file"
        ):
            opening(f"sqlite:///{old_file}")


def test_opening_does_not_upgrade_a_server(old_server: str) -> None:
    before = rows_of(old_server)
    shown = old_server.replace("+psycopg", "")
    with pytest.raises(LedgerError, match=rf"has version 1, .*run `whatsapp-flows ledger upgrade --ledger {shown}`"):
        Ledger(old_server)
    assert (found_version(old_server), rows_of(old_server)) == (1, before)

    assert upgrade(old_server) == Upgrade(1, SCHEMA_VERSION)

    assert without_new_columns(rows_of(old_server)) == before
    with Ledger(old_server) as ledger:
        assert len(list_replays(ledger)) == 3
    assert upgrade(old_server) == Upgrade(SCHEMA_VERSION, SCHEMA_VERSION)


def test_does_not_upgrade_a_server_during_a_replay(old_server: str) -> None:
    engine = create_engine(old_server)
    with engine.begin() as connection:
        connection.execute(replays.update().where(replays.c.id == "stopped").values(ended_at=None))
    with engine.connect() as runs:
        runs.execute(select(func.pg_advisory_lock(lock_number("chunk", 3, 0))))
        runs.commit()
        with pytest.raises(
            LedgerError, match=r"replays of the earlier version are running: stopped. Let them finish, or stop them"
        ):
            upgrade(old_server)
        runs.execute(select(func.pg_advisory_unlock(lock_number("chunk", 3, 0))))
        runs.commit()
    engine.dispose()
    assert upgrade(old_server).version == SCHEMA_VERSION


def test_without_a_ledger_there_is_nothing_to_upgrade(tmp_path: Path, postgres: PostgresServer) -> None:
    for url in (f"sqlite:///{tmp_path / 'none.db'}", postgres.create_database()):
        with pytest.raises(LedgerError, match="there is no ledger in"):
            upgrade(url)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("only_once", [True, False], ids=["only_once", "any number of times"])
async def test_an_upgrade_adds_claims_for_earlier_requests(ledger_url: str, *, only_once: bool) -> None:
    make_ledger(ledger_url)
    engine = create_engine(ledger_url)
    with engine.begin() as connection:
        rows = connection.execute(select(replays.c.no, replays.c.flow)).all()
        for no, flow in rows if only_once else ():
            changed = json.dumps({**json.loads(flow), "replay": {"only_once": True}})
            connection.execute(update(replays).where(replays.c.no == no).values(flow=changed))
    engine.dispose()
    upgrade(ledger_url)

    with Ledger(ledger_url) as ledger:
        with ledger.read() as connection:
            claims = {tuple(row) for row in connection.execute(select(once.c["flow_id", "step_id", "response_id"]))}
        async with Journal(ledger) as journal:
            mark = ("phone:+525512340009",)  # of the DAG run r-9
            asked = intent("new", step="Create contact", once=OnceClaim("Create contact", mark))
            asked = replace(asked, subject=Subject("lead_to_crm", "new"))
            [done] = await asyncio.gather(journal.add(asked), return_exceptions=True)

    # The hand-written DAG was never replayed, so nobody knows whether it may be one of these.
    assert {response for flow_id, _, response in claims if flow_id == "by_hand"} != set()
    of_flow = {(step, response) for flow_id, step, response in claims if flow_id == "lead_to_crm"}
    if only_once:
        assert {("Create contact", "r-1"), ("Tell sales", "r-1"), ("Create contact", "r-9")} <= of_flow
        assert ("Create contact", "r-3") not in of_flow  # it was refused
        assert isinstance(done, OnceClaimedError)
    else:
        assert (of_flow, done) == (set(), None)
