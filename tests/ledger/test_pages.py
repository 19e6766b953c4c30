"""Pages are limited by rows and by bytes, and contain every row once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, event

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import AttemptEnd, ContactState, Ledger, pages
from airflow_whatsapp_flows.ledger.attempts import group_by_type, write_entries
from airflow_whatsapp_flows.ledger.epochs import find_known_responses
from airflow_whatsapp_flows.ledger.persons import Move
from airflow_whatsapp_flows.ledger.records import Page, read_pending_contacts
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.resolve import Resolution, ResolveSelection, resolve
from airflow_whatsapp_flows.ledger.results import contact_results, iter_responses
from airflow_whatsapp_flows.ledger.retry import RetrySelection, walk_again
from airflow_whatsapp_flows.ledger.schema import contacts
from airflow_whatsapp_flows.ledger.snapshots import chunks_of_phones, move_contacts
from tests.ledger.filling import FLOW_ID, a_replay, attempt, end, intent, response, result, rows_of
from tests.servers.postgres import PostgresServer

LONG = 40_000


def test_batches_end_by_number_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 10)
    assert list(pages.batches([1, 2, 12, 3, 3, 5, 1], 3, lambda size: size)) == [[1, 2, 12], [3, 3, 5], [1]]
    assert list(pages.parts([(3, 4), (4, 6), (7, None), (9, 30), (10, 1)])) == [(3, 4), (7, 9), (10, 10)]
    assert list(pages.parts([])) == []


def long_responses(count: int) -> list[dict[str, Any]]:
    return [response(number, step={"Ask name": "x" * LONG}) for number in range(count)]


def pending_pages(ledger: Ledger, replay_no: int) -> list[list[str]]:
    found: list[list[str]] = []
    after = 0
    with ledger.read() as connection:
        while contacts := read_pending_contacts(connection, Page(FLOW_ID, replay_no, 0, after, 256)):
            found.append([contact.response_id for contact in contacts])
            after = contacts[-1].id
    return found


def test_long_responses_make_smaller_pages(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 2 * LONG)
    replay = a_replay(ledger, [*long_responses(5), response(5), response(6)])
    assert pending_pages(ledger, replay.no) == [["r-0", "r-1"], ["r-2", "r-3"], ["r-4", "r-5", "r-6"]]


def test_long_replies_make_smaller_pages(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 2 * LONG)
    replay = a_replay(ledger, [response(number) for number in range(4)])
    with ledger.write() as connection:
        for number in range(4):
            made = intent(f"r-{number}", replay_no=replay.no)
            result = '{"outcome": "error", "response": "' + "y" * LONG + '"}'
            write_entries(connection, group_by_type([made]))
            write_entries(connection, group_by_type([AttemptEnd(made, Fate.ANSWERED, 422, "http_status", result, 1.0)]))
    assert pending_pages(ledger, replay.no) == [["r-0", "r-1"], ["r-2", "r-3"]]


def test_results_of_long_responses_are_complete_and_in_order(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", LONG)
    replay = a_replay(ledger, [*long_responses(3), None, response(4), response(5)])
    assert [result.place for result in contact_results(ledger, replay)] == [f"x:{number}" for number in range(1, 7)]
    responses = list(iter_responses(ledger, replay))
    assert [found is not None for found in responses] == [True, True, True, False, True, True]


def test_the_snapshot_writes_long_responses_in_small_batches(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 2 * LONG)
    sizes: list[int] = []
    add = pages.batches

    def record_and_call(*arguments: Any) -> Any:
        for batch in add(*arguments):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr("airflow_whatsapp_flows.replay.snapshot.batches", record_and_call)
    a_replay(ledger, [*long_responses(3), response(3), response(4)])
    assert sizes == [2, 3]


def steps_of(connection: Connection, ask: Callable[[], object]) -> int:
    """Thousands of virtual machine steps of SQLite, a measure of work that doesn't depend on the machine."""
    driver: Any = connection.connection.driver_connection
    count = 0

    def note() -> int:
        nonlocal count
        count += 1
        return 0

    driver.set_progress_handler(note, 100)
    ask()
    driver.set_progress_handler(None, 0)
    return count


@pytest.mark.parametrize("what", ["phones", "moves"])
def test_the_work_of_a_snapshot_batch_is_constant(sqlite_ledger: Ledger, what: str) -> None:
    phones: Sequence[str] = [f"+5255{number:08d}" for number in range(100)]
    ids = [f"r-{number}" for number in range(100)]
    work = []
    for size in (200, 4000):
        replay = a_replay(sqlite_ledger, (response(number) for number in range(size)), f"of-{size}", force=True)
        with sqlite_ledger.write() as connection:
            ask: Callable[[], object] = {
                "phones": lambda: chunks_of_phones(connection, replay.no, phones),  # noqa: B023
                "moves": lambda: move_contacts(connection, replay.no, [Move(3, ids, phones)]),  # noqa: B023
            }[what]
            work.append(steps_of(connection, ask))
    assert work[1] < 2 * work[0] + 20


def test_postgresql_updates_statistics_while_a_snapshot_is_taken(postgres: PostgresServer) -> None:
    """Without statistics, every batch scans the whole table."""
    with Ledger(postgres.create_database()) as ledger:
        replay = a_replay(ledger, (response(number) for number in range(4500)), "analyzed")
        phones = [f"+5255{number:08d}" for number in range(100)]
        with ledger.read() as connection:
            known = connection.exec_driver_sql(f"SELECT reltuples FROM pg_class WHERE relname = '{contacts.name}'")
            assert known.scalar_one() >= 4000
            plans: list[str] = []

            def explain(conn: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool) -> None:
                if statement.startswith("SELECT"):
                    cursor.execute(f"EXPLAIN {statement}", values)
                    plans.append("\n".join(row[0] for row in cursor.fetchall()))

            event.listen(connection, "before_cursor_execute", explain)
            chunks_of_phones(connection, replay.no, phones)
            find_known_responses(connection, FLOW_ID, [f"r-{number}" for number in range(100)], of_runs=False)
        assert len(plans) == 2
        assert f"{contacts.name}_phone" in plans[0]
        assert [plan for plan in plans if f"{contacts.name}_chunk" in plan] == []  # that is all rows of the replay


class LongestRead:
    """The largest sum of result sizes that a single statement has read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = self.all = 0
        execute = Connection.execute

        def record_and_call(connection: Connection, *arguments: Any, **named: Any) -> Any:
            found = execute(connection, *arguments, **named)
            if not found.returns_rows or "result" not in found.keys():  # noqa: SIM118  # a result of rows
                return found
            rows = found.all()
            size = sum(len(row.result or "") for row in rows)
            self.most, self.all = max(self.most, size), self.all + size
            return rows

        monkeypatch.setattr(Connection, "execute", record_and_call)


def failed_with_long_replies(ledger: Ledger, count: int) -> Replay:
    replay = a_replay(ledger, [response(number) for number in range(count)])
    end(ledger, replay, [ContactState.FAILED] * count, handled_errors=1)
    error = {"kind": "status", "sent": "yes"}
    reply = result("y" * LONG, status_code=504, outcome="error", error=error)
    for number in range(count):
        attempt(ledger, f"r-{number}", Fate.ANSWERED, replay, status_code=504, result=reply)
    return replay


def test_a_retry_reads_few_long_replies_at_a_time(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 2 * LONG)
    replay = failed_with_long_replies(ledger, 6)
    read = LongestRead(monkeypatch)
    choice = RetrySelection(states=[ContactState.FAILED], duplicates_accepted_by="ana")
    assert walk_again(ledger, replay, choice).contacts == 6
    assert read.all >= 6 * LONG
    assert read.most < 3 * LONG


def test_resolving_reads_few_long_replies_at_a_time(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 2 * LONG)
    replay = failed_with_long_replies(ledger, 6)
    read = LongestRead(monkeypatch)
    resolved = resolve(ledger, replay, ResolveSelection(step="Create", handled=True), Resolution(sent=False, by="ana"))
    assert (resolved.contacts, resolved.attempts) == (6, 6)
    assert read.all >= 6 * LONG
    assert read.most < 3 * LONG
    assert {row.state for row in rows_of(ledger, replay)} == {"pending"}
