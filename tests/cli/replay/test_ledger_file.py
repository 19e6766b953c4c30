"""A replay whose ledger file is deleted, replaced, or overwritten stops, and sends nothing twice."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.replaying import Leads
from tests.ledger.damage import delete, overwrite_with_copy, replace_with_copy, replace_with_empty_file, truncate
from tests.servers.recording import Answer, Received, RecordingServer

COUNT, CONCURRENCY, WHEN = 150, 2, 30


class ServerWithEvent:
    """A server that triggers an event at the thirtieth request."""

    def __init__(self, folder: Path, cli: Cli) -> None:
        self.event: Callable[[Path, Path], None] = lambda *_: None
        self.server = RecordingServer(self._answer)
        self.leads = Leads(cli, folder, self.server.url, self.server.host)
        self.copy = folder / "copy.db"

    def _answer(self, request: Received) -> Answer:
        if len(self.server.received) == WHEN - 10:
            with closing(sqlite3.connect(self.leads.database)) as connection:  # as SQLite does after a thousand pages
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        if len(self.server.received) == WHEN:
            self.event(self.leads.database, self.copy)
        return Answer.json({"id": json.loads(request.content)["phone"]})

    @property
    def most(self) -> int:
        """The number of requests for the most frequent contact."""
        return max(Counter(received.content for received in self.server.received).values())


@pytest.fixture
def event_server(tmp_path: Path, cli: Cli) -> Iterator[ServerWithEvent]:
    made = ServerWithEvent(tmp_path, cli)
    made.leads.write(5)
    assert made.leads.run("--replay-id", "before").status == 0
    shutil.copy(made.leads.database, made.copy)
    made.leads.write(COUNT)
    yield made
    made.server.close()


RUN = ("--replay-id", "leads", "--concurrency", CONCURRENCY)


def run_until_it_stops(event_server: ServerWithEvent, event: Callable[[Path, Path], None]) -> str:
    """Run the replay until the event stops it, and return what it reports."""
    event_server.event = event
    stopped = event_server.leads.run(*RUN)
    assert stopped.status == 4
    assert len(event_server.server.received) <= WHEN + 2 * CONCURRENCY
    return stopped.err


def assert_refused(event_server: ServerWithEvent, advice: str) -> None:
    """Rerun the command: it sends nothing and prints the advice."""
    sent = len(event_server.server.received)
    again = event_server.leads.run(*RUN)
    assert again.status == 1
    assert advice in again.err
    assert len(event_server.server.received) == sent


@pytest.mark.parametrize("event", [delete, replace_with_empty_file, replace_with_copy])
def test_restoring_a_lost_ledger_sends_no_contact_twice(
    event_server: ServerWithEvent, event: Callable[[Path, Path], None]
) -> None:
    leads = event_server.leads

    reported = run_until_it_stops(event_server, event)

    assert re.search(
        r"while it was in use; nothing more is sent\. All of it was saved\. `mv (\S+) \S+` restores", reported
    )
    assert re.search(r"This run has sent 2\d requests since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", reported)
    for _ in range(2):
        assert_refused(event_server, "restores the saved copy")

    [saved] = leads.folder.glob("ledger.db-rescued-*")
    saved.rename(leads.database)
    assert leads.run(*RUN).status in (0, 3)

    states = leads.status("leads")
    assert (states["total"], states["pending"]) == (COUNT, 0)
    assert states["completed"] + states["in_doubt"] + states["skipped"] == COUNT
    assert states["in_doubt"] <= 2 * CONCURRENCY
    assert event_server.most == 1


@pytest.mark.parametrize("event", [overwrite_with_copy, truncate])
def test_adding_lost_requests_to_a_restored_ledger_prevents_duplicates(
    event_server: ServerWithEvent, event: Callable[[Path, Path], None]
) -> None:
    leads = event_server.leads

    reported = run_until_it_stops(event_server, event)

    found = re.search(r"(\d+) of them are in (\S+\.jsonl): `whatsapp-flows ledger accept --ledger \S+ --lost", reported)
    assert found, reported
    assert_refused(event_server, "run `whatsapp-flows ledger accept")

    for end in ("-wal", "-shm"):
        leads.database.with_name(f"ledger.db{end}").unlink(missing_ok=True)
    leads.database.write_bytes(event_server.copy.read_bytes())
    assert leads.run(*RUN).status == 1, "a person has to say that the copy is meant"
    accepted = leads.cli("ledger", "accept", "--lost", found[2], "--yes", *leads.ledger)
    assert (accepted.status, f"{found[1]} lost requests added" in accepted.out) == (0, True)
    assert leads.run(*RUN).status in (0, 3)

    states = leads.status("leads")
    assert (states["total"], states["pending"]) == (COUNT, 0)
    assert states["in_doubt"] <= 2 * CONCURRENCY
    assert event_server.most == 1


def test_resolve_retry_and_purge_refuse_a_ledger_that_was_replaced(event_server: ServerWithEvent) -> None:
    leads = event_server.leads
    leads.write(2)
    assert leads.run(*RUN).status == 0
    leads.database.unlink()
    shutil.copy(event_server.copy, leads.database)
    for words in (
        ["replay", "retry", "before", *leads.send_options],
        ["replay", "resolve", "before", "r-1", "--as", "sent", *leads.ledger],
        ["ledger", "purge", "--replay", "before", "--yes", *leads.ledger],
    ):
        done = leads.cli(*words)
        assert (done.status, "is an older copy" in done.err) == (1, True)
    assert leads.cli("ledger", "accept", *leads.ledger).status == 1, "nobody agreed"
    assert leads.cli("ledger", "accept", "--yes", *leads.ledger).status == 0
    assert leads.cli("ledger", "purge", "--replay", "before", "--yes", *leads.ledger).status == 0
