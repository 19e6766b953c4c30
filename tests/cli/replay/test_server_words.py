"""Refusals are shown with the server's reply, masked and shortened."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from typing import Any

import pytest

from tests.cli.conftest import action, flow
from tests.cli.replaying import LEADS, Leads
from tests.servers.recording import Answer, Received, RecordingServer

SAID = {"error": "Ana María is known", "phone": "+525512345678", "token": "s3cr3t-value", "bidi": "\u202e"}
SHOWN = r'{"error":"Ana María is known","phone":"+52…78","token":"***","bidi":"\u202e"}'
WITHOUT_THE_CONTACT = r'{"error":"*** is known","phone":"+52…78","token":"***","bidi":"\u202e"}'


@pytest.fixture
def refused_leads(leads: Leads, server: RecordingServer) -> Leads:
    leads.write(2)
    server.queued.append(Answer.json(SAID, 422))
    done = leads.run("--replay-id", "first", "--concurrency", "1")
    assert done.status == 3
    assert f"  reply: {WITHOUT_THE_CONTACT}\n" in done.out
    return leads


def test_status_shows_one_reply_of_each_group_without_the_contact(refused_leads: Leads) -> None:
    assert f"  reply: {WITHOUT_THE_CONTACT}\n" in refused_leads.replay("status", "first").out


def test_json_of_a_run_has_the_reply_next_to_the_sample(leads: Leads, server: RecordingServer) -> None:
    leads.write(1)
    server.queued.append(Answer.json(SAID, 422))

    (error,) = json.loads(leads.run("--format", "json").out)["errors"]

    assert (error["reply"], error["count"], error["handled"]) == (WITHOUT_THE_CONTACT, 1, 0)


def test_results_have_the_reply_in_error_and_action(refused_leads: Leads) -> None:
    found, sent = refused_leads.results("first")

    assert found["error"]["reply"] == found["actions"][0]["reply"] == SHOWN
    assert sent["error"] is None
    assert "reply" not in sent["actions"][0]


def test_csv_results_have_the_reply_in_the_error(refused_leads: Leads) -> None:
    rows = list(csv.reader(io.StringIO(refused_leads.replay("results", "first", "--format", "csv").out)))
    assert rows[1][5].endswith(f"422 Unprocessable Entity; reply: {SHOWN}")


def test_an_error_keeps_its_reply_after_a_later_replay_fails_differently(
    refused_leads: Leads, server: RecordingServer
) -> None:
    server.queued.append(Answer.json({"error": "another"}, 422))
    refused_leads.run("--replay-id", "second")

    assert refused_leads.results("first")[0]["error"]["reply"] == SHOWN
    assert refused_leads.results("second", "--state", "failed")[0]["error"]["reply"] == '{"error":"another"}'


def table(refused: Leads) -> list[tuple[Any, ...]]:
    target = refused.folder / "mine.db"
    done = refused.replay("results", "first", "--to", f"sqlite:///{target}", "--table", "crm_log")
    assert done.status == 0, done.err
    with sqlite3.connect(target) as connection:
        return connection.execute("SELECT status_code, reply FROM crm_log ORDER BY 1").fetchall()


def test_a_user_table_has_a_column_for_the_reply(refused_leads: Leads) -> None:
    assert table(refused_leads) == [(200, None), (422, SHOWN)]


def test_an_older_user_table_gains_the_column(refused_leads: Leads) -> None:
    table(refused_leads)
    with sqlite3.connect(refused_leads.folder / "mine.db") as connection:
        connection.execute("ALTER TABLE crm_log DROP COLUMN reply")
        connection.execute("INSERT INTO crm_log (replay_id, flow_id, state) VALUES ('older', 'leads', 'completed')")

    assert table(refused_leads) == [(None, None), (200, None), (422, SHOWN)]


def test_find_shows_the_reply(refused_leads: Leads) -> None:
    words = ("ledger", "find", "--phone", "+525512340000", *refused_leads.ledger)
    assert f"    reply: {SHOWN}\n" in refused_leads.cli(*words).out
    assert [one["reply"] for one in json.loads(refused_leads.cli(*words, "--format", "json").out)] == [SHOWN]


def test_purge_removes_the_reply(refused_leads: Leads) -> None:
    refused_leads.cli("ledger", "purge", "--replay", "first", "--yes", *refused_leads.ledger)

    assert "known" not in refused_leads.replay("results", "first").out
    assert "reply:" not in refused_leads.replay("status", "first").out


def test_never_shows_values_that_the_flow_marks_as_sensitive(leads: Leads, server: RecordingServer) -> None:
    leads.write(1, flow={**LEADS, "sensitive": ["step.Ask name"]})
    server.queued.append(Answer.json({"error": "ANA MARÍA is known"}, 422))
    done = leads.run("--replay-id", "first", "--format", "json")

    shown = [
        done.out,
        leads.replay("status", "first").out,
        leads.replay("results", "first").out,
        leads.cli("ledger", "find", "--phone", "+525512340000", *leads.ledger).out,
    ]
    for text in shown:
        assert "*** is known" in text
        assert "mar" not in text.lower()


def test_groups_count_what_was_handled(leads: Leads, server: RecordingServer) -> None:
    create = action("Create", body={"phone": "{{ contact.phone }}"}, on_error="Sorry")
    leads.write(5, flow=flow(create, {"name": "Sorry", "type": "message", "body": "Sorry"}, id="leads"))

    def script(received: Received) -> Answer:
        known = int(json.loads(received.content)["phone"][-1]) < 3
        return Answer.json({"error": "is known"}, 409) if known else Answer.json({"id": 1})

    server._script = script

    done = leads.run("--replay-id", "first")

    assert done.status == 0
    assert ": 3 contacts, 3 handled by an error exit\n" in done.out
    assert '  reply: {"error":"is known"}\n' in done.out
    assert "`replay retry --handled`" in done.out
    assert sorted(one["id"] for one in leads.results("first", "--handled")) == ["r-0", "r-1", "r-2"]
    assert leads.replay("results", "first", "--handled", "--as-responses").status == 2
