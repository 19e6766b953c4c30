"""Whether the ledger is still the one that was opened: deleted, replaced, overwritten, and restored."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from airflow_whatsapp_flows.errors import LedgerError, LedgerReplacedError
from airflow_whatsapp_flows.ledger import Journal, Ledger
from airflow_whatsapp_flows.ledger import identity as identity_module
from airflow_whatsapp_flows.ledger.acceptance import accept
from airflow_whatsapp_flows.ledger.identity import FileIdentity, read_stored_commits
from airflow_whatsapp_flows.ledger.marks import mark_path, read_mark
from airflow_whatsapp_flows.ledger.replays import create_replay, find_replay, list_replays
from airflow_whatsapp_flows.ledger.rows import OnceClaim
from tests.ledger.damage import delete, overwrite_with_copy, replace_with_copy, replace_with_empty_file, truncate
from tests.ledger.filling import attempt, attempts_of, intent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "l.db"


def url_of(file: Path) -> str:
    return f"sqlite:///{file}"


def a_ledger(file: Path, replay_id: str = "first") -> None:
    with Ledger(url_of(file)) as ledger:
        create_replay(ledger, replay_id, "f", "{}", ("x", None))


def copy_of(file: Path) -> Path:
    """A copy of an unused ledger, as `cp` makes it."""
    copy = file.with_name("copy.db")
    shutil.copy(file, copy)
    return copy


REPLACED = [delete, replace_with_empty_file, replace_with_copy]
OVERWRITTEN = [overwrite_with_copy, truncate]


@pytest.mark.parametrize("happens", [*REPLACED, *OVERWRITTEN])
def test_writes_nothing_if_the_file_was_replaced(file: Path, happens: Callable[[Path, Path], None]) -> None:
    a_ledger(file)
    copy = copy_of(file)
    with Ledger(url_of(file)) as ledger:
        create_replay(ledger, "second", "f", "{}", ("x", None))
        with ledger.read() as connection:  # as SQLite does by itself after a thousand pages
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()
        create_replay(ledger, "third", "f", "{}", ("x", None))

        happens(file, copy)

        for name in ("fourth", "fifth"):
            with pytest.raises(LedgerReplacedError, match="while it was in use; nothing more is sent"):
                create_replay(ledger, name, "f", "{}", ("x", None))
    with pytest.raises(LedgerReplacedError, match=f"run `whatsapp-flows ledger accept --ledger {url_of(file)}`"):
        Ledger(url_of(file))


@pytest.mark.parametrize("happens", REPLACED)
def test_saves_a_ledger_that_is_lost_while_in_use(file: Path, happens: Callable[[Path, Path], None]) -> None:
    a_ledger(file)
    copy = copy_of(file)
    with Ledger(url_of(file)) as ledger:
        create_replay(ledger, "second", "f", "{}", ("x", None))
        happens(file, copy)
        with pytest.raises(LedgerReplacedError) as raised:
            create_replay(ledger, "third", "f", "{}", ("x", None))

    [saved] = file.parent.glob("l.db-rescued-*")
    assert f"All of it was saved. `mv {saved} {file}` restores the saved copy" in str(raised.value)
    assert saved.stat().st_mode & 0o777 == 0o600
    file.unlink(missing_ok=True)
    with pytest.raises(LedgerReplacedError, match=f"`mv {saved} {file}` restores"):
        Ledger(url_of(file))

    saved.rename(file)
    for end in ("-wal", "-shm"):
        file.with_name(f"l.db{end}").unlink(missing_ok=True)
    with Ledger(url_of(file)) as ledger:
        assert [replay.id for replay in list_replays(ledger)] == ["second", "first"]


def test_does_not_recreate_a_deleted_ledger_until_accepted(file: Path) -> None:
    a_ledger(file)
    file.unlink()

    with pytest.raises(LedgerReplacedError, match=r"is missing: it was deleted or moved, with 1 commits? that record"):
        Ledger(url_of(file))
    assert not file.exists()

    accept(file)
    with Ledger(url_of(file)) as ledger:
        assert list_replays(ledger) == []


def test_looking_for_a_deleted_ledger_creates_no_empty_one(file: Path) -> None:
    assert read_stored_commits(file) is None
    assert not file.exists()
    with Ledger(url_of(file)) as ledger:
        create_replay(ledger, "first", "f", "{}", ("x", None))
        file.unlink()
        with pytest.raises(LedgerReplacedError, match="was deleted or moved while it was in use"):
            create_replay(ledger, "second", "f", "{}", ("x", None))
    assert not file.exists()


def test_the_hint_names_no_copy_that_another_process_is_writing(file: Path) -> None:
    a_ledger(file)
    file.unlink()
    for name in ("l.db-rescued-5", "l.db-rescued-7.123.part", "l.db-rescued-7.123.part-journal"):
        (file.parent / name).write_bytes(b"")

    with pytest.raises(LedgerReplacedError, match=r"`mv \S*/l\.db-rescued-5 "):
        Ledger(url_of(file))


@pytest.mark.parametrize("left", [False, True], ids=["alone", "with the log of the newer one"])
def test_refuses_an_older_copy_until_accepted(file: Path, left: bool) -> None:
    a_ledger(file)
    copy = copy_of(file)
    log = b""
    with Ledger(url_of(file)) as ledger:
        create_replay(ledger, "second", "f", "{}", ("x", None))
        with ledger.read() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()
        create_replay(ledger, "third", "f", "{}", ("x", None))
        log = file.with_name("l.db-wal").read_bytes()
    copy.rename(file)
    if left:
        file.with_name("l.db-wal").write_bytes(log)

    with pytest.raises(LedgerReplacedError, match=r"is an older copy: . of 3 commits are missing"):
        Ledger(url_of(file))
    if not left:
        accept(file)
        a_ledger(file, "later")
        a_ledger(file, "last")


@pytest.mark.parametrize("last", ["notices", "closes"])
def test_a_process_with_fewer_commits_lowers_no_mark(file: Path, last: str) -> None:
    """As the command of several workers, which write while it only waits."""
    with Ledger(url_of(file)) as command:
        create_replay(command, "first", "f", "{}", ("x", None))
        with Ledger(url_of(file)) as worker:
            for number in range(4):
                create_replay(worker, f"early {number}", "f", "{}", ("x", None))
            with worker.read() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()
            copy = copy_of(file)
            for number in range(4):
                create_replay(worker, f"late {number}", "f", "{}", ("x", None))
        if last == "notices":
            replace_with_copy(file, copy)
            with pytest.raises(LedgerReplacedError, match="was replaced by another file"):
                create_replay(command, "last", "f", "{}", ("x", None))
    if last == "closes":
        replace_with_copy(file, copy)

    with pytest.raises(LedgerReplacedError, match="is an older copy: 4 of 9 commits are missing"):
        Ledger(url_of(file))


def test_refuses_another_ledger_in_its_place(file: Path) -> None:
    a_ledger(file)
    other = file.with_name("other.db")
    for name in "abc":
        a_ledger(other, name)
    other.rename(file)

    with pytest.raises(LedgerReplacedError, match="is a different ledger than the one used here before"):
        Ledger(url_of(file))


def test_accepting_stops_processes_with_the_old_ledger(file: Path) -> None:
    with Ledger(url_of(file)) as ledger:
        accept(file)
        with pytest.raises(LedgerReplacedError, match="was accepted again with `whatsapp-flows ledger accept`"):
            create_replay(ledger, "r", "f", "{}", ("x", None))
    a_ledger(file)  # and does not keep others from it


def test_users_of_a_deleted_ledger_do_not_block_its_replacement(
    file: Path,
) -> None:
    with Ledger(url_of(file)) as ledger:
        create_replay(ledger, "first", "f", "{}", ("x", None))
        for path in (file, *(file.with_name(f"l.db{end}") for end in ("-wal", "-shm"))):
            path.unlink()
        accept(file)
        a_ledger(file, "new")
        with pytest.raises(LedgerReplacedError, match="was replaced by another file"):
            create_replay(ledger, "second", "f", "{}", ("x", None))
    a_ledger(file, "newer")


def test_concurrent_writes_do_not_look_like_an_older_copy(file: Path) -> None:
    a_ledger(file)
    with Ledger(url_of(file)) as busy, closing(sqlite3.connect(file)) as connection:

        def read(statement: str) -> Any:
            row = connection.execute(statement).fetchone()
            create_replay(busy, "meanwhile", "f", "{}", ("x", None))
            return row

        identity = FileIdentity(file)
        identity.learn(read)
        assert identity.commits == 1


def test_a_checkpoint_does_not_look_like_a_replacement(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_ledger(file)
    with Ledger(url_of(file)) as ledger, closing(sqlite3.connect(file)) as connection:
        shared = FileIdentity(file)
        shared.learn(lambda statement: connection.execute(statement).fetchone())
        create_replay(ledger, "second", "f", "{}", ("x", None))

        def overtaken(path: Path) -> tuple[str, int] | None:
            seen = read_stored_commits(path)
            monkeypatch.undo()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shared.check()  # in another thread, which is done first
            return seen

        monkeypatch.setattr(identity_module, "read_stored_commits", overtaken)
        os.utime(file)
        shared.check()
        assert shared.stored == 2


def test_checking_an_unreadable_file_releases_no_lock(file: Path) -> None:
    with Ledger(url_of(file)) as ledger:
        assert read_stored_commits(file) is None, "its tables are in the log"
        os.utime(file)
        ledger.check_identity()
        other = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version').fetchone()"
        subprocess.run([sys.executable, "-c", f"{other}; c.close()", str(file)], check=True)
        assert file.with_name("l.db-wal").exists(), "another process took itself for the last one"
        create_replay(ledger, "first", "f", "{}", ("x", None))
    with Ledger(url_of(file)) as ledger:
        assert [replay.id for replay in list_replays(ledger)] == ["first"]


def test_concurrent_users_do_not_look_like_a_replacement(file: Path) -> None:
    with Ledger(url_of(file)) as one, Ledger(url_of(file)) as other:
        for number in range(30):
            create_replay(one, f"one {number}", "f", "{}", ("x", None))
            create_replay(other, f"other {number}", "f", "{}", ("x", None))
            if number % 10 == 0:
                with other.read() as connection:
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()
    with Ledger(url_of(file)) as ledger:
        assert len(list_replays(ledger)) == 60
    mark = read_mark(file)
    assert mark is not None
    assert (mark.commits, mark.stored) == (60, 60)


def test_accepts_a_mark_damaged_by_a_power_loss(file: Path) -> None:
    a_ledger(file)
    older = mark_path(file).read_bytes()
    a_ledger(file, "second")
    for content in (older, b"", older[:20], b"\0" * len(older)):
        mark_path(file).write_bytes(content)
        Ledger(url_of(file)).close()


def test_refuses_damaged_files(file: Path) -> None:
    a_ledger(file)
    lost = file.with_name("lost.jsonl")
    lost.write_text("no json\n")
    with pytest.raises(LedgerError, match=r"the lost requests in .* cannot be read"):
        accept(file, lost)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(file.read_bytes())
    content[8192:] = b"\7" * (len(content) - 8192)
    file.write_bytes(content)
    with pytest.raises(LedgerError, match=r"is damaged|cannot be written"):
        accept(file)


async def test_saves_requests_lost_by_an_overwrite_for_adding(file: Path) -> None:
    a_ledger(file)
    copy = copy_of(file)
    with Ledger(url_of(file)) as ledger:
        async with Journal(ledger) as journal:
            for number in range(3):
                marks: dict[str, Any] = {"identifiers": (("email", "a@x"),), "once": OnceClaim("Create", ("phone:+1",))}
                await journal.add(intent(f"r-{number}", **(marks if number == 2 else {})))
            with ledger.read() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()
            overwrite_with_copy(file, copy)
            with pytest.raises(LedgerReplacedError) as raised:
                await journal.add(intent("r-3"))
            told = str(journal.with_losses(raised.value))

    [lost] = file.parent.glob("l.db-lost-*.jsonl")
    assert "This run has sent 3 requests since 1970-01-01 00:15:01 UTC; 3 of them are in" in told
    assert [json.loads(line)["response_id"] for line in lost.read_text().splitlines()] == ["r-0", "r-1", "r-2"]
    for end in ("-wal", "-shm"):
        file.with_name(f"l.db{end}").unlink(missing_ok=True)
    overwrite_with_copy(file, copy)

    assert accept(file, lost).added == 3
    with Ledger(url_of(file)) as ledger:
        assert find_replay(ledger, "first") is not None
        assert [row.key for number in range(4) for row in attempts_of(ledger, f"r-{number}")] == [
            "key-r-0", "key-r-1", "key-r-2",
        ]  # fmt: skip
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT kind, value, response_id FROM whatsapp_flows_identifiers").fetchall()
        assert found == [("email", "a@x", "r-2")]
        found = connection.execute("SELECT step_id, identifier, response_id FROM whatsapp_flows_once").fetchall()
        assert found == [("Create", "phone:+1", "r-2")]
    assert accept(file, lost).added == 0, "what is there already is not added twice"


def test_does_not_write_to_a_restored_older_server(postgres: Any) -> None:
    url = postgres.create_database()
    engine = create_engine(url)
    with Ledger(url) as ledger:
        attempt(ledger, "r-1", None)
        with engine.begin() as connection:  # as a dump of before does it
            connection.execute(text("ALTER SEQUENCE whatsapp_flows_commits RESTART"))
        with pytest.raises(
            LedgerReplacedError, match="was replaced or restored from an older copy while it was in use"
        ):
            attempt(ledger, "r-2", None)
    with Ledger(url) as ledger:
        attempt(ledger, "r-2", None)
        with engine.begin() as connection:
            connection.execute(text("UPDATE whatsapp_flows_ledger SET ledger_id = 'another'"))
        with pytest.raises(LedgerReplacedError):
            attempt(ledger, "r-3", None)
    engine.dispose()
