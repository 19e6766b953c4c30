"""Ownership of a chunk across processes that die, stop, and resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, select

from airflow_whatsapp_flows.errors import LedgerError, OwnershipLostError
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.claims import Claim, check_fences, claim, exclusive, is_owned, release
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.schema import chunks
from tests.ledger.filling import a_replay, response

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
import sys
from airflow_whatsapp_flows.errors import OwnershipLostError
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.claims import check_fences, claim
with Ledger(sys.argv[1]) as ledger, ledger.connect() as connection:
    claimed = claim(ledger, connection, int(sys.argv[2]), 0)
    print("owned" if claimed else "refused", flush=True)
    for _ in sys.stdin:
        try:
            with ledger.write(connection):
                check_fences(connection, [claimed])
            print("written", flush=True)
        except OwnershipLostError:
            print("lost", flush=True)
"""


def test_is_owned_does_not_take_ownership(ledger: Ledger, replay: Replay) -> None:
    with ledger.connect() as connection, ledger.connect() as asking:
        assert not is_owned(ledger, asking, replay.no, 0)
        claimed = claim(ledger, connection, replay.no, 0)
        assert claimed is not None
        assert is_owned(ledger, asking, replay.no, 0)
        assert not is_owned(ledger, asking, replay.no, 1)
        release(ledger, connection, claimed)
        assert not is_owned(ledger, asking, replay.no, 0)
        again = claim(ledger, connection, replay.no, 0)
        assert again is not None
        assert again.fence == claimed.fence + 1
        release(ledger, connection, again)


@pytest.fixture
def replay(ledger: Ledger) -> Replay:
    return a_replay(ledger, [response(1), response(2)], chunk_size=1)


@contextmanager
def an_owner(url: str, replay: Replay) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OWNER, url, str(replay.no)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert line(process) == "owned"
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ask_to_write(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    process.stdin.write("write\n")
    process.stdin.flush()
    return line(process)


def test_a_chunk_has_one_owner(ledger: Ledger, ledger_url: str, replay: Replay) -> None:
    with an_owner(ledger_url, replay) as process, ledger.connect() as connection:
        assert claim(ledger, connection, replay.no, 0) is None
        other = claim(ledger, connection, replay.no, 1)
        assert other is not None
        release(ledger, connection, other)
        assert ask_to_write(process) == "written"
        with ledger.read() as reading:
            owner = reading.execute(select(chunks.c.owner).where(chunks.c.chunk == 0)).scalar_one()
        assert owner.endswith(f":{process.pid}")


def test_a_killed_owner_is_replaced_immediately(ledger: Ledger, ledger_url: str, replay: Replay) -> None:
    with an_owner(ledger_url, replay) as process:
        process.kill()
        process.wait()

    with ledger.connect() as connection:
        claimed = _claimed_soon(ledger, connection, replay)
        assert claimed.fence == 2
        release(ledger, connection, claimed)


def test_a_stopped_process_is_still_the_owner(ledger: Ledger, ledger_url: str, replay: Replay) -> None:
    with an_owner(ledger_url, replay) as process, ledger.connect() as connection:
        os.kill(process.pid, signal.SIGSTOP)
        try:
            assert claim(ledger, connection, replay.no, 0) is None
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert ask_to_write(process) == "written"


def test_a_replaced_owner_writes_nothing(ledger: Ledger, ledger_url: str, replay: Replay) -> None:
    with an_owner(ledger_url, replay) as process:
        os.kill(process.pid, signal.SIGSTOP)
        _take_lock_away(ledger)
        with ledger.connect() as connection:
            claimed = claim(ledger, connection, replay.no, 0)
            assert claimed is not None
            os.kill(process.pid, signal.SIGCONT)

            if ledger.is_sqlite:
                assert ask_to_write(process) == "lost"
            else:  # its session is gone too: no answer, and an error that ends it
                assert ask_to_write(process) == ""
            with ledger.write(connection):
                check_fences(connection, [claimed])
            release(ledger, connection, claimed)


def test_the_fence_increases_with_every_owner(ledger: Ledger, replay: Replay) -> None:
    with ledger.connect() as connection:
        fences = []
        for _ in range(3):
            claimed = claim(ledger, connection, replay.no, 0)
            assert claimed is not None
            fences.append(claimed.fence)
            release(ledger, connection, claimed)

    assert fences == [1, 2, 3]


def test_fences_of_several_chunks_are_checked_together(ledger: Ledger, replay: Replay) -> None:
    with ledger.connect() as connection:
        claimed = [found for chunk in (0, 1) if (found := claim(ledger, connection, replay.no, chunk))]
        assert len(claimed) == 2
        with ledger.write() as other:
            other.execute(chunks.update().where(chunks.c.chunk == 1).values(fence=9))

        with pytest.raises(OwnershipLostError), ledger.write(connection):
            check_fences(connection, claimed)
        with ledger.write(connection):
            check_fences(connection, claimed[:1])
            check_fences(connection, [])
        for one in claimed:
            release(ledger, connection, one)


def test_claiming_a_missing_chunk_leaves_no_lock(ledger: Ledger, replay: Replay) -> None:
    with ledger.connect() as connection:
        with pytest.raises(LedgerError, match="there is no chunk 7"):
            claim(ledger, connection, replay.no, 7)
        with ledger.write() as other:
            other.execute(chunks.insert().values(replay_no=replay.no, chunk=7, size=0, fence=0))
        with ledger.connect() as later:
            claimed = claim(ledger, later, replay.no, 7)
            assert claimed is not None
            release(ledger, later, claimed)


def test_a_second_process_waits_for_the_first(ledger: Ledger, ledger_url: str) -> None:
    order: list[str] = []
    begun, done = threading.Event(), threading.Event()

    def second() -> None:
        with Ledger(ledger_url) as other:
            begun.set()
            with exclusive(other, "begin", "flow"):
                order.append("second")
        done.set()

    with exclusive(ledger, "begin", "flow"):
        thread = threading.Thread(target=second)
        thread.start()
        assert begun.wait(10)
        with exclusive(ledger, "begin", "another flow"):  # that is another thing to be done
            pass
        assert not done.wait(0.3)
        order.append("first")
    thread.join(10)

    assert order == ["first", "second"]


def test_an_error_releases_the_lock(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError), exclusive(ledger, "x"):
        raise RuntimeError
    with exclusive(ledger, "x"):
        pass


def _claimed_soon(ledger: Ledger, connection: Connection, replay: Replay) -> Claim:
    # A server notices a dead client when it reads from its socket: after a moment, not immediately.
    deadline = threading.Event()
    for _ in range(200):
        claimed = claim(ledger, connection, replay.no, 0)
        if claimed is not None:
            return claimed
        deadline.wait(0.02)
    raise AssertionError("nobody else owns it")


def _take_lock_away(ledger: Ledger) -> None:
    """Release the lock of a live owner, as a failing file system or a restarted server does."""
    if ledger.file is not None:
        for file in ledger.file.with_name(f"{ledger.file.name}-locks").iterdir():
            file.unlink()
        return
    with ledger.write() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks"
            " WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("of_folder", [False, True], ids=["link to the file", "link to its folder"])
def test_links_to_a_ledger_share_one_lock(tmp_path: Path, *, of_folder: bool) -> None:
    folder, links = tmp_path / "real", tmp_path / "links"
    folder.mkdir()
    with Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger, ledger.connect() as connection:
        replay = a_replay(ledger, [response(1)])
        if of_folder:
            links.symlink_to(folder)
        else:
            links.mkdir()
            (links / "ledger.db").symlink_to(folder / "ledger.db")
        with Ledger(f"sqlite:///{links / 'ledger.db'}") as linked, linked.connect() as other:
            claimed = claim(ledger, connection, replay.no, 0)
            assert claimed is not None
            assert claim(linked, other, replay.no, 0) is None
            release(ledger, connection, claimed)
            again = claim(linked, other, replay.no, 0)
            assert again is not None
            release(linked, other, again)


def test_chunks_are_checked_in_the_order_of_their_numbers(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(3)], "ordered", chunk_size=1)
    asked: list[str] = []
    with ledger.connect() as connection:
        owned = [claim(ledger, connection, replay.no, chunk) for chunk in (2, 0, 1)]
        claims = [one for one in owned if one is not None]
        event.listen(connection, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
        with ledger.write(connection):
            check_fences(connection, claims)
        for one in claims:
            release(ledger, connection, one)

    fences = [query for query in asked if query.startswith("SELECT fence")]
    assert [f"chunk = {chunk}" in query for chunk, query in enumerate(fences)] == [True] * 3
