"""Group commit: entries in order, few commits, and nothing more after a failed one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, NullPool, create_engine, event, func, select, text
from sqlalchemy.exc import OperationalError

from airflow_whatsapp_flows.errors import IntentConflictError, LedgerError, OwnershipLostError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import AttemptEnd, ContactEnd, ContactState, Journal, Ledger
from airflow_whatsapp_flows.ledger.locks import lock_number
from airflow_whatsapp_flows.ledger.schema import attempts, chunks
from tests.ledger.filling import a_replay, attempts_of, intent, response, rows_of
from tests.servers.postgres import PostgresServer


def counted_commits(ledger: Ledger) -> list[Any]:
    commits: list[Any] = []
    event.listen(ledger._engine, "commit", commits.append)
    return commits


async def test_commits_a_thousand_entries_in_few_batches_in_order(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(250)])
    ids = [row.id for row in rows_of(ledger, replay)]
    commits = counted_commits(ledger)

    async def contact(journal: Journal, number: int) -> None:
        first, second = intent(f"r-{number}"), intent(f"r-{number}", step="Note", key=f"n-{number}")
        await journal.add(first)
        journal.note(AttemptEnd(first, Fate.SUCCEEDED, 201, None, "{}", 902.0))
        await journal.add(second)
        journal.note(AttemptEnd(second, Fate.SUCCEEDED, 200, None, "{}", 903.0))
        await journal.add(ContactEnd(ids[number], ContactState.COMPLETED, "", 904.0, path="[]"))

    async with Journal(ledger) as journal:
        await asyncio.gather(*(contact(journal, number) for number in range(250)))

    assert len(commits) <= 40
    assert {row.state for row in rows_of(ledger, replay)} == {"completed"}
    for number in (0, 100, 249):
        rows = attempts_of(ledger, f"r-{number}")
        assert [(row.step, row.fate, row.status_code) for row in rows] == [
            ("Create", "succeeded", 201),
            ("Note", "succeeded", 200),
        ]


async def test_entries_cancelled_before_their_commit_are_not_written(ledger: Ledger) -> None:
    async with Journal(ledger) as journal:
        journal.add(intent("r-1")).cancel()
        await journal.add(intent("r-2"))

    assert (attempts_of(ledger, "r-1"), len(attempts_of(ledger, "r-2"))) == ([], 1)


async def test_what_follows_a_commit_comes_before_anything_that_waits_for_it(ledger: Ledger) -> None:
    order: list[str] = []

    async def wait_for(added: asyncio.Future[None], name: str) -> None:
        await added
        order.append(name)

    async with Journal(ledger) as journal:
        first = journal.add(intent("r-1"))
        waiting = asyncio.create_task(wait_for(first, "first"))
        second = journal.add(intent("r-2"), lambda _: order.append(f"{len(attempts_of(ledger, 'r-2'))} committed"))
        await asyncio.gather(waiting, wait_for(second, "second"))

    assert order[0] == "1 committed"
    assert sorted(order[1:]) == ["first", "second"]


async def test_nothing_follows_an_intent_that_is_refused_or_no_longer_wanted(ledger: Ledger) -> None:
    followed: list[str] = []
    async with Journal(ledger) as journal:
        await journal.add(intent("r-1"))
        with pytest.raises(IntentConflictError):
            await journal.add(intent("r-1"), lambda _: followed.append("refused"))
        journal.add(intent("r-2"), lambda _: followed.append("cancelled")).cancel()
        await journal.add(intent("r-3"))

    assert followed == []


async def test_an_error_in_what_follows_reaches_the_caller(ledger: Ledger) -> None:
    def fail(_: object) -> None:
        raise LookupError

    async with Journal(ledger) as journal:
        with pytest.raises(LookupError):
            await journal.add(intent("r-1"), fail)
        await journal.add(intent("r-2"))


async def test_an_intent_is_committed_when_its_future_is_done(ledger: Ledger) -> None:
    async with Journal(ledger) as journal:
        waiting = journal.add(intent("r-1"))
        assert not waiting.done()
        await waiting
        assert len(attempts_of(ledger, "r-1")) == 1


async def test_the_last_entries_are_committed_at_the_end(ledger: Ledger) -> None:
    async with Journal(ledger) as journal:
        one = intent("r-1")
        await journal.add(one)
        journal.note(AttemptEnd(one, Fate.UNKNOWN, None, "timeout", None, 902.0))

    assert attempts_of(ledger, "r-1")[0].fate == "unknown"


async def test_refuses_a_duplicate_intent_but_keeps_its_commit(ledger: Ledger, ledger_url: str) -> None:
    with Ledger(ledger_url) as other:
        async with Journal(ledger) as first, Journal(other) as second:
            await first.add(intent("r-1"))
            outcomes = await asyncio.gather(
                second.add(intent("r-0")),
                second.add(intent("r-1")),
                second.add(intent("r-2")),
                return_exceptions=True,
            )
            await second.add(intent("r-3"))

    assert [type(outcome) for outcome in outcomes] == [type(None), IntentConflictError, type(None)]
    assert [len(attempts_of(ledger, f"r-{number}")) for number in range(4)] == [1, 1, 1, 1]


async def test_the_end_of_a_refused_intent_is_ignored(ledger: Ledger, ledger_url: str) -> None:
    """A run that is stopped while its intent is committed withdraws the intent."""
    with Ledger(ledger_url) as other:
        async with Journal(ledger) as first, Journal(other) as second:
            await first.add(intent("r-1", begun_at=901.0))
            refused = intent("r-1", begun_at=901.5)
            with pytest.raises(IntentConflictError):
                await second.add(refused)
            second.note(AttemptEnd(refused, Fate.NOT_SENT, None, None, None, 902.0))

    assert [(row.begun_at, row.fate) for row in attempts_of(ledger, "r-1")] == [(901.0, None)]


async def test_a_failed_commit_fails_all_waiting_and_later_entries(ledger: Ledger) -> None:
    _break(ledger)
    async with Journal(ledger) as journal:
        outcomes = await asyncio.gather(*(journal.add(intent(f"r-{n}")) for n in range(5)), return_exceptions=True)

        assert all(isinstance(outcome, LedgerError) for outcome in outcomes)
        assert "space" in str(outcomes[0])
        assert journal.failure is outcomes[0]
        with pytest.raises(LedgerError):
            journal.add(intent("r-9"))
        with pytest.raises(LedgerError):
            journal.note(AttemptEnd(intent("r-9"), Fate.UNKNOWN, None, None, None, 1.0))

    assert _count(ledger) == 0


async def test_entries_waiting_for_a_failed_commit_fail(ledger: Ledger) -> None:
    _break(ledger)
    async with Journal(ledger) as journal:
        first = journal.add(intent("r-1"))
        await asyncio.sleep(0)  # the flusher has taken it
        behind = journal.add(intent("r-2"))
        outcomes = await asyncio.gather(first, behind, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [LedgerError, LedgerError]


async def test_refuses_a_commit_of_a_replaced_owner(ledger: Ledger, ledger_url: str) -> None:
    replay = a_replay(ledger, [response(1)])
    async with Journal(ledger) as first:
        assert await first.claim(replay.no, 0) is not None
        await first.add(intent("r-1"))
        with ledger.write() as connection:  # as a second owner does, once the lock of the first is gone
            connection.execute(chunks.update().values(fence=chunks.c.fence + 1))

        with pytest.raises(OwnershipLostError, match="another worker has taken over"):
            await first.add(intent("r-2"))
        with pytest.raises(OwnershipLostError):
            first.note(ContactEnd(1, ContactState.COMPLETED, "", 1.0))

    assert _count(ledger) == 1


async def test_a_second_journal_claims_a_released_chunk(ledger: Ledger, ledger_url: str) -> None:
    replay = a_replay(ledger, [response(1)])
    with Ledger(ledger_url) as other:
        async with Journal(ledger) as first, Journal(other) as second:
            claimed = await first.claim(replay.no, 0)
            assert claimed is not None
            assert await second.claim(replay.no, 0) is None
            first.note(intent("r-1"))

            await first.release(claimed)

            assert len(attempts_of(other, "r-1")) == 1  # before the chunk was given back
            again = await second.claim(replay.no, 0)
            assert again is not None
            assert again.fence == claimed.fence + 1
            await first.add(intent("r-2"))  # it owns nothing any more, and claims nothing


async def test_a_closed_journal_releases_its_chunks(ledger: Ledger, ledger_url: str) -> None:
    replay = a_replay(ledger, [response(1)])
    async with Journal(ledger) as first:
        assert await first.claim(replay.no, 0) is not None

    with Ledger(ledger_url) as other:
        async with Journal(other) as second:
            assert await second.claim(replay.no, 0) is not None


async def test_a_session_ended_by_the_server_frees_its_lock(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    with Ledger(url) as ledger:
        replay = a_replay(ledger, [response(1)])
        journal = Journal(ledger)
        async with journal:
            assert await journal.claim(replay.no, 0) is not None
            await journal.add(intent("r-1"))
            assert postgres.terminate_sessions() >= 1

            with pytest.raises(LedgerError, match=r"cannot be written"):
                await journal.add(intent("r-2"))
            with Ledger(url) as other:
                async with Journal(other) as second:
                    assert await second.claim(replay.no, 0) is not None
                    await second.add(intent("r-3"))
    with Ledger(url) as after:
        assert _count(after) == 2


@pytest.fixture
def server_ledger(postgres: PostgresServer) -> Iterator[Ledger]:
    """A ledger in PostgreSQL that tolerates 20 s without its server."""
    with Ledger(postgres.create_database()) as opened:
        opened.outages.begin(20)
        yield opened


async def test_a_new_session_claims_the_chunk_again(server_ledger: Ledger, postgres: PostgresServer) -> None:
    replay = a_replay(server_ledger, [response(1)])
    with Ledger(server_ledger._url.render_as_string(hide_password=False)) as other:
        async with Journal(server_ledger) as journal, Journal(other) as second:
            claimed = await journal.claim(replay.no, 0)
            assert claimed is not None
            for number in range(3):
                end_sessions_of(postgres, server_ledger)
                await journal.add(intent(f"r-{number}"))

            assert await second.claim(replay.no, 0) is None
            end_sessions_of(postgres, server_ledger)
            await journal.release(claimed)
            assert await second.claim(replay.no, 0) is not None
    assert _count(server_ledger) == 3


async def test_a_commit_whose_acknowledgement_was_lost_is_not_repeated(
    server_ledger: Ledger, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = a_replay(server_ledger, [response(1)])
    committed, lost = server_ledger._transaction, []

    @contextmanager
    def commit_then_lose(connection: Connection) -> Iterator[None]:
        with committed(connection):
            yield
        if connection.info.pop("lose", False):
            lost.append(connection)
            end_sessions_of(postgres, server_ledger)
            connection.execute(select(1))  # as the driver finds out

    monkeypatch.setattr(server_ledger, "_transaction", commit_then_lose)
    async with Journal(server_ledger) as journal:
        assert await journal.claim(replay.no, 0) is not None
        assert journal._connection is not None
        journal._connection.info["lose"] = True
        first = intent("r-1")
        await asyncio.gather(journal.add(first), journal.add(intent("r-2")))
        journal.note(AttemptEnd(first, Fate.SUCCEEDED, 201, None, "{}", 902.0))
        await journal.add(ContactEnd(1, ContactState.COMPLETED, "", 904.0, path="[]"))

    assert len(lost) == 1
    assert _count(server_ledger) == 2
    assert [row.fate for row in attempts_of(server_ledger, "r-1")] == ["succeeded"]


async def test_a_new_owner_keeps_the_chunk_after_an_outage(
    server_ledger: Ledger, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = a_replay(server_ledger, [response(1)])
    with Ledger(server_ledger._url.render_as_string(hide_password=False)) as other:
        async with Journal(server_ledger) as late, Journal(other) as second:
            assert await late.claim(replay.no, 0) is not None
            end_sessions_of(postgres, server_ledger)
            assert await second.claim(replay.no, 0) is not None

            with pytest.raises(OwnershipLostError, match="another worker has taken over"):
                await late.add(intent("r-1"))
            await second.add(intent("r-2"))
    assert _count(server_ledger) == 1


async def test_waits_for_the_lock_of_the_lost_session(server_ledger: Ledger, postgres: PostgresServer) -> None:
    replay = a_replay(server_ledger, [response(1)])
    engine = create_engine(server_ledger._url, poolclass=NullPool)
    async with Journal(server_ledger) as journal:
        assert await journal.claim(replay.no, 0) is not None
        with engine.connect() as keeper:
            end_sessions_of(postgres, server_ledger)
            keeper.execute(select(func.pg_advisory_lock(lock_number("chunk", replay.no, 0))))
            keeper.commit()
            added = journal.add(intent("r-1"))
            done, _ = await asyncio.wait([added], timeout=0.5)
            assert not done
        await added
    assert _count(server_ledger) == 1


def end_sessions_of(postgres: PostgresServer, ledger: Ledger) -> None:
    """End the sessions that a ledger has open."""
    pids = [session.info.backend_pid for session in list(ledger.outages._sessions) if not session.closed]
    engine = create_engine(postgres.url(), poolclass=NullPool)
    with engine.connect() as administrator:
        for pid in pids:
            administrator.execute(select(func.pg_terminate_backend(pid, 5000)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk_keeps_what_was_committed(small_disk: Path) -> None:
    committed = 0
    with Ledger(f"sqlite:///{small_disk / 'l.db'}") as ledger:
        async with Journal(ledger) as journal:

            async def write(number: int) -> None:
                nonlocal committed
                await journal.add(intent(f"r-{number}", origin="x" * 1000))
                committed += 1

            with pytest.raises(LedgerError, match="full"):
                await _one_by_one(write(number) for number in range(2000))
        assert committed > 10
        assert _count(ledger) == committed


async def _one_by_one(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    for one in work:
        await one


async def test_using_a_closed_journal_raises(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="not open"):
        await Journal(ledger).claim(1, 0)


def _break(ledger: Ledger) -> None:
    with ledger.write() as connection:
        if ledger.is_sqlite:
            # An error raised by a trigger is a broken constraint in SQLite; this is a database error.
            statements = [
                f"CREATE TRIGGER full BEFORE INSERT ON {attempts.name} BEGIN SELECT * FROM no_space_left; END"
            ]
        else:
            statements = [
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$",
                f"CREATE TRIGGER full_disk BEFORE INSERT ON {attempts.name} EXECUTE FUNCTION full_disk()",
            ]
        for statement in statements:
            connection.execute(text(statement))


def _count(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return int(connection.execute(select(func.count()).select_from(attempts)).scalar_one())


def fail_one_commit(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let the next commit fail as if its session were lost; the list is empty until then."""
    write = Journal._write
    failed: list[bool] = []

    def fail_once(self: Journal, *arguments: Any) -> Any:
        if not failed:
            failed.append(True)
            cause = OperationalError("COMMIT", None, NoAnswerError())
            raise LedgerError("the ledger cannot be written") from cause
        return write(self, *arguments)

    monkeypatch.setattr(Journal, "_write", fail_once)
    return failed


async def test_ends_the_lost_session_before_claiming_again(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(postgres_url) as ledger:
        replay = a_replay(ledger, [response(1)])
        ledger.outages.begin(3)
        async with Journal(ledger) as journal:
            assert await journal.claim(replay.no, 0) is not None
            failed = fail_one_commit(monkeypatch)
            await journal.add(intent("r-1"))

        assert failed
        assert len(attempts_of(ledger, "r-1")) == 1


async def test_a_chunk_is_claimed_while_a_lost_session_is_being_replaced(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Ledger.connect
    connecting, may_connect = threading.Event(), threading.Event()

    def connect_later(self: Ledger) -> Connection:
        connecting.set()
        assert may_connect.wait(10)
        return connect(self)

    with Ledger(postgres_url) as ledger:
        replay = a_replay(ledger, [response(1), response(2)], "replaced", chunk_size=1)
        ledger.outages.begin(10)
        async with Journal(ledger) as journal:
            assert await journal.claim(replay.no, 0) is not None
            fail_one_commit(monkeypatch)
            monkeypatch.setattr(Ledger, "connect", connect_later)
            added = journal.add(intent("replaced-1"))
            assert await asyncio.to_thread(connecting.wait, 10)
            claimed = asyncio.create_task(journal.claim(replay.no, 1))
            await asyncio.sleep(0)
            may_connect.set()
            await added

            assert await claimed is not None


class NoAnswerError(Exception):
    """The driver's error for a session that failed but may still exist on the server."""

    sqlstate = "08006"


async def test_what_follows_may_take_the_future_over(ledger: Ledger) -> None:
    taken: list[asyncio.Future[None]] = []

    def take(done: asyncio.Future[None]) -> bool:
        taken.append(done)
        return True

    async with Journal(ledger) as journal:
        added = journal.add(intent("r-1"), take)
        await journal.add(intent("r-2"))
        await asyncio.sleep(0)
        assert taken == [added]
        assert not added.done()
        taken[0].set_result(None)
        await added
