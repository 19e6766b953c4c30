"""What prevents contacts from being sent, and the advice printed then."""

from __future__ import annotations

import datetime as dt
import json
import re

import pytest

from tests.cli.conftest import CommandResult
from tests.cli.replaying import LEADS, Leads, json_lines, lead
from tests.servers.recording import Answer, RecordingServer


def run_without_writing(leads: Leads, table: str) -> tuple[CommandResult, CommandResult]:
    """Run a replay of four contacts while a table is read-only, and rerun it when the table is writable."""
    leads.write(0)
    leads.run("--replay-id", "empty")
    leads.write(4)
    # A missing function fails when the statement is prepared, as a full disk fails at its commit.
    leads.sql(f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT no_such_function(); END")
    broken = leads.run("--replay-id", "first")
    leads.sql("DROP TRIGGER full")
    return broken, leads.run("--replay-id", "first")


def test_an_unwritable_ledger_stops_the_run_without_loss(leads: Leads, server: RecordingServer) -> None:
    broken, rerun = run_without_writing(leads, "whatsapp_flows_attempts")

    assert (broken.status, rerun.status, len(server.received)) == (4, 0, 4)
    assert "cannot be written" in broken.out
    assert "4 contacts pending; rerun the same command to resume" in broken.out


def test_contacts_that_are_postponed_are_pending(leads: Leads, server: RecordingServer) -> None:
    now, two_hours = dt.datetime.now(dt.timezone.utc), dt.timedelta(hours=2)
    hours = {"start": f"{now - two_hours:%H:%M}", "end": f"{now + two_hours:%H:%M}"}
    leads.write(0, json_lines([lead(1, contact={"timezone": "UTC"})]), flow={**LEADS, "replay": {"quiet_hours": hours}})

    done = leads.run()

    assert (done.status, len(server.received)) == (4, 0)
    end = f"{now + two_hours:%H:%M}"
    assert re.search(rf"postponed: 1 contact: quiet_hours: until \S+ {end} UTC\n", done.out)
    assert f"1 contact postponed until {end} UTC; rerun the same command then" in done.out
    assert "the same command goes on" not in done.out


def test_reports_the_first_and_last_sending_time_over_several_zones(leads: Leads) -> None:
    now, two_hours = dt.datetime.now(dt.timezone.utc), dt.timedelta(hours=2)
    hours = {"start": f"{now - two_hours:%H:%M}", "end": f"{now + two_hours:%H:%M}"}
    contacts = [lead(n, contact={"timezone": zone}) for n, zone in enumerate(["UTC", "Etc/GMT-1"])]
    leads.write(0, json_lines(contacts), flow={**LEADS, "replay": {"quiet_hours": hours}})

    text, told = leads.run().out, json.loads(leads.run("--format", "json").out)

    first, last = now + two_hours - dt.timedelta(hours=1), now + two_hours
    assert f"2 contacts postponed until {first:%H:%M} UTC, the last of them until {last:%H:%M} UTC" in text
    assert told["postponed_until"] == f"{first:%Y-%m-%dT%H:%M}:00Z"


@pytest.mark.parametrize(
    ("delivery", "words", "others"),
    [("at_most_once", "resolve", "retry --state in_doubt"), ("keyed", "retry --state in_doubt", "resolve")],
)
def test_the_advice_for_a_doubt_matches_its_delivery(
    leads: Leads, server: RecordingServer, delivery: str, words: str, others: str
) -> None:
    steps = [{**step, "delivery": delivery, "retry": {"attempts": 1}} if step["type"] == "action" else step
             for step in LEADS["steps"]]  # fmt: skip
    leads.write(1, flow={**LEADS, "steps": steps})
    server.queued.append(Answer(drop=True))

    done = leads.run("--replay-id", "first")

    assert "in_doubt         1" in done.out
    assert f"whatsapp-flows replay {words}" in done.out
    assert f"whatsapp-flows replay {others}" not in done.out
    assert ("sends the same bytes again under the same key" in done.out) is (delivery == "keyed")


def test_max_failures_counts_failures_of_earlier_runs_until_retried(leads: Leads, server: RecordingServer) -> None:
    leads.write(8, flow={**LEADS, "replay": {"max_failures": 1, "concurrency": 1}})
    server._script = lambda _: Answer(422)
    assert leads.run("--replay-id", "first").status == 4
    sent, failed = len(server.received), leads.status("first")["failed"]
    server._script = lambda _: Answer()

    again = leads.run("--replay-id", "first")

    assert (again.status, len(server.received), failed >= 2) == (4, sent, True)
    assert f"stopped: {failed} contacts failed, and max_failures allows 1: " in again.out
    assert "`replay retry`" in again.out
    assert leads.replay("retry", "first", *leads.send_options[:4]).status == 0
    assert leads.status("first")["completed"] == 8


def test_resumes_after_a_ledger_failure_while_reading(leads: Leads, server: RecordingServer) -> None:
    broken, rerun = run_without_writing(leads, "whatsapp_flows_contacts")

    assert (broken.status, rerun.status, len(server.received)) == (4, 0, 4)
    assert "cannot be written" in broken.err
    assert "nothing was sent; rerun the same command when the ledger is available again" in broken.err


def test_a_read_only_ledger_allows_inspection_but_no_run(
    leads: Leads, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads.write(2)
    leads.run("--replay-id", "first")
    monkeypatch.setattr("airflow_whatsapp_flows.ledger.database.is_read_only", lambda _: True)

    refused = [leads.run("--replay-id", "second"), leads.replay("retry", "first", *leads.send_options[:4])]

    for done in refused:
        assert (done.status, "is read-only" in done.err) == (1, True)
    assert leads.status("first")["completed"] == len(leads.results("first")) == 2
    assert leads.cli("ledger", "find", "--phone", lead(0)["contact"]["phone"], *leads.ledger).status == 0
    assert leads.replay("list").status == 0
    assert len(server.received) == 2
