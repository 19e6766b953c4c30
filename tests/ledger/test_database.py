"""Opening a ledger: what it creates and what it refuses."""

from __future__ import annotations

import errno
import os
import pwd
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select, update

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.claims import claim, exclusive
from airflow_whatsapp_flows.ledger.replays import create_replay, list_replays, tally
from airflow_whatsapp_flows.ledger.results import contact_results
from airflow_whatsapp_flows.ledger.schema import PREFIX, SCHEMA_VERSION, metadata, replays, versions
from tests.ledger.filling import a_replay, end, response


def test_creates_tables_once_and_keeps_their_rows(ledger: Ledger, ledger_url: str) -> None:
    create_replay(ledger, "r", "f", "{}", ("x", None))

    with Ledger(ledger_url) as again, again.read() as connection:
        assert set(inspect(connection).get_table_names()) == set(metadata.tables)
        assert connection.execute(select(func.count()).select_from(replays)).scalar_one() == 1
        assert connection.execute(select(versions.c.version)).all() == [(SCHEMA_VERSION,)]
    assert all(name.startswith(PREFIX) for name in metadata.tables)


def test_several_processes_can_open_a_new_ledger_concurrently(ledger_url: str) -> None:
    barrier, problems = threading.Barrier(6), []

    def open_ledger() -> None:
        barrier.wait()
        try:
            Ledger(ledger_url).close()
        except LedgerError as error:
            problems.append(error)

    threads = [threading.Thread(target=open_ledger) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []


@pytest.mark.parametrize(
    ("version", "advice"),
    [(0, "no release uses that version"), (SCHEMA_VERSION + 1, "Upgrade airflow-whatsapp-flows here")],
    ids=["unknown", "newer"],
)
def test_refuses_unknown_and_newer_versions_without_changes(
    ledger: Ledger, ledger_url: str, version: int, advice: str
) -> None:
    with ledger.write() as connection:
        connection.execute(update(versions).values(version=version))

    with pytest.raises(LedgerError, match=f"has version {version}, .* uses version {SCHEMA_VERSION}: .*{advice}"):
        Ledger(ledger_url)
    with ledger.read() as connection:
        assert connection.execute(select(versions.c.version)).scalar_one() == version


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://u@h/d", "sqlite://", "sqlite:///:memory:", "/srv/l.db", "oracle+x://h", "http://x"]
)
def test_refuses_an_invalid_ledger_url_with_an_example(url: str) -> None:
    with pytest.raises(LedgerError, match="a ledger must be an SQLAlchemy URL: sqlite:////path"):
        Ledger(url)


def test_a_password_is_never_shown() -> None:
    with pytest.raises(LedgerError) as raised:
        Ledger("postgresql://user:s3cret@127.0.0.1:1/none")

    assert "s3cret" not in str(raised.value)
    assert "***" in str(raised.value)


def test_refuses_folders_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but a text of some length\n" * 100)
    for place in (tmp_path / "text", tmp_path):
        with pytest.raises(LedgerError, match=r"the ledger sqlite:.* cannot be"):
            Ledger(f"sqlite:///{place}")
    with pytest.raises(LedgerError, match=r"the folder .*text of the ledger cannot be created"):
        Ledger(f"sqlite:///{tmp_path / 'text' / 'l.db'}")


def test_creates_the_folder_and_resolves_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Ledger("sqlite:///a/l.db") as ledger:
        assert ledger.file == tmp_path / "a" / "l.db"
        assert str(tmp_path) in ledger.display_url
        assert ledger.file.exists()


def test_a_mistyped_path_does_not_become_an_empty_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be created"):
        Ledger(f"sqlite:///{tmp_path}/typo/ledgers/l.db")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A read-only ledger, and a process without the rights of root."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        with Ledger(f"sqlite:///{folder / 'l.db'}") as ledger:
            end(ledger, a_replay(ledger, [response(1), response(2)]), [ContactState.COMPLETED])
        folder.chmod(0o555)
        (folder / "l.db").chmod(0o444)
        was = os.geteuid()
        if was == 0:
            os.seteuid(pwd.getpwnam("nobody").pw_uid)
        try:
            yield folder
        finally:
            os.seteuid(was)
            folder.chmod(0o755)


def test_reads_a_read_only_file_and_explains_failed_writes(nobody: Path) -> None:
    with Ledger(f"sqlite:///{nobody / 'l.db'}") as ledger, ledger.connect() as connection:
        [replay] = list_replays(ledger)
        states = tally(ledger, replay.no).states
        assert (states[ContactState.COMPLETED], states[ContactState.PENDING]) == (1, 1)
        assert [one.id for one in contact_results(ledger, replay)] == ["r-1", "r-2"]
        writes: tuple[Callable[[], object], ...] = (
            lambda: create_replay(ledger, "r", "f", "{}", ("x", None)),
            lambda: exclusive(ledger, "begin", "f").__enter__(),
            lambda: claim(ledger, connection, replay.no, 0),
        )
        for write in writes:
            with pytest.raises(LedgerError, match=r"sqlite:\S+l\.db is read-only: .* the file and its folder"):
                write()
    assert sorted(file.name for file in nobody.iterdir()) == ["l.db", "l.db-locks"]


def test_a_read_only_process_sees_the_commits_of_a_running_writer(nobody: Path) -> None:
    url, reader = f"sqlite:///{nobody / 'l.db'}", os.geteuid()
    os.seteuid(os.getuid())
    nobody.chmod(0o755)
    with Ledger(url) as writer:
        create_replay(writer, "later", "f", "{}", ("x", None))
        nobody.chmod(0o555)
        for file in nobody.iterdir():
            file.chmod(0o444)
        os.seteuid(reader)
        with Ledger(url) as ledger:
            assert [replay.id for replay in list_replays(ledger)] == ["later", "first"]
        os.seteuid(os.getuid())


def test_an_empty_read_only_file_is_not_a_ledger(nobody: Path) -> None:
    was = os.geteuid()
    os.seteuid(os.getuid())
    (nobody / "empty.db").touch(0o444)
    os.seteuid(was)
    with pytest.raises(LedgerError, match="is read-only"):
        Ledger(f"sqlite:///{nobody / 'empty.db'}")


def test_a_transaction_is_atomic(ledger: Ledger) -> None:
    row = {"id": "r", "flow_id": "f", "flow": "", "source": "", "options": "", "created_at": 1.0}
    with pytest.raises(LedgerError, match="cannot be written"), ledger.write() as connection:
        connection.execute(replays.insert(), [row, row])

    with ledger.read() as connection:
        assert connection.execute(select(func.count()).select_from(replays)).scalar_one() == 0


def test_acknowledged_commits_survive_a_power_loss(sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite_ledger.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 1  # of checkpoints: the log first
    assert sqlite_ledger.file is not None
    log, synced = os.stat(f"{sqlite_ledger.file}-wal"), []

    def sync(number: int) -> None:
        found = os.fstat(number)
        with closing(sqlite3.connect(sqlite_ledger.file, timeout=0, isolation_level=None)) as other:
            committed = other.execute("SELECT count(*) FROM whatsapp_flows_replays").fetchone()
            other.execute("BEGIN IMMEDIATE")  # nobody waits for the disk of this commit
            other.execute("ROLLBACK")
        synced.append(((found.st_dev, found.st_ino) == (log.st_dev, log.st_ino), committed))

    monkeypatch.setattr(os, "fdatasync", sync)
    create_replay(sqlite_ledger, "r", "f", "{}", ("x", None))

    assert synced == [(True, (1,))]


def test_a_commit_that_is_not_on_the_disk_is_an_error(sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(LedgerError, match="cannot be written: Input/output error"):
            create_replay(sqlite_ledger, "r", "f", "{}", ("x", None))
    # The system has forgotten what it could not write: another sync would succeed.
    with pytest.raises(LedgerError, match="check the disk, then start again"):
        create_replay(sqlite_ledger, "r2", "f", "{}", ("x", None))


def test_a_ledger_that_is_not_on_the_disk_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger(url) as first:
        create_replay(first, "r", "f", "{}", ("x", None))
        for mark in tmp_path.rglob("last-commit"):
            mark.unlink()

        def fail(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(LedgerError, match="Input/output error"):
            Ledger(url)


def test_a_ledger_whose_log_was_deleted_is_not_written(sqlite_ledger: Ledger) -> None:
    Path(f"{sqlite_ledger.file}-wal").unlink()

    with pytest.raises(LedgerError, match=r"its log .*-wal was deleted while it was in use"):
        create_replay(sqlite_ledger, "r", "f", "{}", ("x", None))


def test_only_a_busy_ledger_is_tried_again(sqlite_ledger: Ledger) -> None:
    began = time.monotonic()
    with pytest.raises(LedgerError, match="within a transaction"), sqlite_ledger.write() as connection:
        sqlite_ledger.dialect.begin(connection)

    assert time.monotonic() - began < 10
    with sqlite_ledger.read() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 60_000


def test_a_replay_name_is_unique(ledger: Ledger) -> None:
    create_replay(ledger, "r", "f", "{}", ("x", None))

    with pytest.raises(LedgerError, match="the replay 'r' already"):
        create_replay(ledger, "r", "g", "{}", ("y", None))
