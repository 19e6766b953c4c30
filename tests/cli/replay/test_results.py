"""``whatsapp-flows replay results``: printed, as responses, and as a table."""

from __future__ import annotations

import csv
import io
import json
import sqlite3

import pytest

from tests.cli.replaying import Leads, json_lines, lead
from tests.servers.recording import Answer, RecordingServer


def test_a_contact_is_one_object_with_its_actions(leads: Leads, server: RecordingServer) -> None:
    leads.write(1)
    leads.run("--replay-id", "first")

    (found,) = leads.results("first")

    key = found["actions"][0].pop("idempotency_key")
    assert len(key) == 32
    assert found == {
        "id": "r-0",
        "state": "completed",
        "reason": None,
        "handled_errors": 0,
        "path": ["Ask name", "Create contact"],
        "error": None,
        "actions": [
            {"step": "Create contact", "visit": 1, "attempts": 1, "status_code": 200, "outcome": "success"},
        ],
        "later": None,
    }


def test_an_error_names_its_step_and_its_attempts_are_counted(leads: Leads, server: RecordingServer) -> None:
    leads.write(1)
    server.queued += [Answer(429, headers={"Retry-After": "0"}), Answer(422)]
    leads.run("--replay-id", "first")

    (found,) = leads.results("first")

    assert (found["state"], found["error"]["step"], found["error"]["status_code"]) == ("failed", "Create contact", 422)
    assert found["actions"][0] | {"idempotency_key": ""} == {
        "step": "Create contact", "visit": 1, "attempts": 2, "status_code": 422, "outcome": "error",
        "idempotency_key": "",
    }  # fmt: skip


def test_a_contact_fixed_by_another_replay_keeps_its_own_outcome(leads: Leads, server: RecordingServer) -> None:
    leads.write(2)
    server.queued += [Answer(422), Answer(422)]
    leads.run("--replay-id", "first")
    leads.run("--replay-id", "second")
    words = ["--to", f"sqlite:///{leads.folder / 'mine.db'}", "--table", "t"]

    (first, _), (second, _) = leads.results("first"), leads.results("second")
    table = list(csv.DictReader(io.StringIO(leads.replay("results", "first", "--format", "csv").out)))
    leads.replay("results", "first", *words)
    with sqlite3.connect(leads.folder / "mine.db") as connection:
        rows = connection.execute("SELECT state, status_code, outcome, attempts, later FROM t").fetchall()

    assert (first["state"], [(one["outcome"], one["status_code"]) for one in first["actions"]]) == (
        "failed", [("error", 422)],
    )  # fmt: skip
    assert (first["later"]["text"], first["later"]["where"], first["later"]["came"]) == (
        "completed in the replay second", "the replay second", "completed",
    )  # fmt: skip
    assert [(one["outcome"], one["attempts"]) for one in first["later"]["actions"]] == [("success", 1)]
    assert [row["later"] for row in table] == ["completed in the replay second"] * 2
    assert rows == [("failed", 422, "error", 1, "completed in the replay second")] * 2
    # The later replay shows the current state: both attempts, and nothing after them.
    assert (second["state"], second["actions"][0]["attempts"], second["later"]) == ("completed", 2, None)


def test_a_table_of_an_earlier_version_gets_the_new_columns(leads: Leads) -> None:
    leads.write(1)
    leads.run("--replay-id", "first")
    words = ["--to", f"sqlite:///{leads.folder / 'mine.db'}", "--table", "t"]
    leads.replay("results", "first", *words)
    with sqlite3.connect(leads.folder / "mine.db") as connection:
        connection.execute("ALTER TABLE t DROP COLUMN later")
        connection.execute("ALTER TABLE t DROP COLUMN reply")

    assert leads.replay("results", "first", *words).status == 0
    with sqlite3.connect(leads.folder / "mine.db") as connection:
        assert connection.execute("SELECT later, reply FROM t").fetchall() == [(None, None)]


def test_a_selection_replaces_the_rows_of_its_contacts_alone(leads: Leads, server: RecordingServer) -> None:
    leads.write(3)
    server.queued.append(Answer(422))
    leads.run("--replay-id", "first")
    words = ["--to", f"sqlite:///{leads.folder / 'mine.db'}", "--table", "t"]
    leads.replay("results", "first", *words)

    assert leads.replay("results", "first", "--state", "failed", *words).out.startswith("1 row of")
    with sqlite3.connect(leads.folder / "mine.db") as connection:
        found = connection.execute("SELECT state, count(*) FROM t_contacts GROUP BY state ORDER BY state").fetchall()
    assert found == [("completed", 2), ("failed", 1)]


def test_writes_files_of_actions_and_contacts(leads: Leads, server: RecordingServer) -> None:
    leads.write(2)
    server.queued.append(Answer.json({"error": "no list", "phone": "+5215512340000"}, 422))
    leads.run("--replay-id", "first")
    file = leads.folder / "out.jsonl"

    assert leads.replay("results", "first", "--to", file).out == f"2 rows of the replay first in {file}\n"

    rows = [json.loads(line) for line in (leads.folder / "out_contacts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted((row["state"], row["error_step"], row["status_code"]) for row in rows) == [
        ("completed", None, None), ("failed", "Create contact", 422),
    ]  # fmt: skip
    (failed,) = (row for row in rows if row["state"] == "failed")
    assert failed["reply"] == '{"error":"no list","phone":"+52…00"}'
    assert len(failed["fingerprint"]) == 12


@pytest.mark.long
def test_results_are_in_the_order_of_the_source_over_many_pages(leads: Leads) -> None:
    leads.write(2500)
    leads.run("--replay-id", "first")

    assert [found["id"] for found in leads.results("first")] == [f"r-{n}" for n in range(2500)]


def test_rows_name_their_replay(leads: Leads) -> None:
    leads.write(40)
    leads.run("--replay-id", "first")
    leads.run("--replay-id", "second")
    numbers = dict(leads.sql("SELECT id, no FROM whatsapp_flows_replays"))
    # As if both had been read at the same time.
    leads.sql(
        f"UPDATE whatsapp_flows_contacts SET replay_no = CASE WHEN replay_no = {numbers['first']} "
        f"THEN {numbers['second']} ELSE {numbers['first']} END WHERE id % 2"
    )

    found = leads.results("first")

    assert sorted(one["id"] for one in found) == sorted(f"r-{n}" for n in range(40))
    assert {one["state"] for one in found} == {"completed", "skipped"}


def test_a_rejected_row_has_its_line(leads: Leads) -> None:
    leads.write(1, "{\n")
    leads.run("--replay-id", "first")

    (found,) = leads.results("first", "--state", "rejected")

    assert found["id"] is None
    assert found["reason"].startswith("not_json: ")
    assert found["reason"].endswith(f"({leads.responses}:2)")


def test_selects_by_state(leads: Leads, server: RecordingServer) -> None:
    leads.write(3, "{\n")
    server.queued += [Answer(422)]
    leads.run("--replay-id", "first")

    found = leads.results("first", "--state", "failed", "--state", "rejected")

    assert sorted(one["state"] for one in found) == ["failed", "rejected"]


def test_nothing_was_sent_for_a_skipped_contact(leads: Leads) -> None:
    leads.write(1)
    leads.run("--replay-id", "first")
    leads.run("--replay-id", "second")

    (found,) = leads.results("second")

    assert (found["state"], found["actions"]) == ("skipped", [])


def test_no_cell_of_a_csv_is_a_formula(leads: Leads, server: RecordingServer) -> None:
    ids = ["=1+1", "+525512345678", "-cmd", "@sum", "\tx", "plain", "-5", "＝1"]
    leads.write(0, json_lines([lead(n, id=id_) for n, id_ in enumerate(ids)]))
    leads.run("--replay-id", "first")

    rows = list(csv.reader(io.StringIO(leads.replay("results", "first", "--format", "csv").out)))

    assert rows[0] == ["id", "state", "reason", "handled_errors", "path", "error", "actions", "later"]
    assert [row[0] for row in rows[1:]] == [
        "'=1+1", "'+525512345678", "'-cmd", "'@sum", "'\tx", "plain", "-5", "'＝1",
    ]  # fmt: skip
    assert {row[3] for row in rows[1:]} == {"0"}
    assert {row[4] for row in rows[1:]} == {"Ask name → Create contact"}


def test_responses_can_be_replayed_again(leads: Leads, server: RecordingServer) -> None:
    leads.write(3, "{\n")
    server.queued += [Answer(422), Answer(422)]
    leads.run("--replay-id", "first")
    failed = {one["id"] for one in leads.results("first", "--state", "failed")}

    done = leads.replay("results", "first", "--state", "failed", "--state", "rejected", "--as-responses")
    leads.responses.write_text(done.out, encoding="utf-8")
    again = leads.run("--replay-id", "second")

    assert "1 row left out" in done.err
    assert again.status == 0
    assert {one["id"] for one in leads.results("second")} == failed


def test_replaces_a_table_with_one_row_per_visit(leads: Leads, server: RecordingServer) -> None:
    leads.write(3, "{\n")
    server.queued.append(Answer(422))
    leads.run("--replay-id", "first")
    target = leads.folder / "mine.db"
    words = ["--to", f"sqlite:///{target}", "--table", "crm_log"]

    first = leads.replay("results", "first", *words)
    leads.replay("results", "first", *words)

    with sqlite3.connect(target) as connection:
        rows = connection.execute(
            "SELECT response_id, state, step, visit, method, attempts, status_code, outcome, error_kind FROM crm_log "
            "WHERE replay_id = 'first' AND flow_id = 'leads' AND (step IS NULL OR sent_at IS NOT NULL) "
            "ORDER BY state, response_id"
        ).fetchall()
    done = ("completed", "Create contact", 1, "POST", 1, 200, "success", None)
    failed = ("failed", "Create contact", 1, "POST", 1, 422, "error", "status")
    assert first.out == "4 rows of the replay first in the table crm_log\n"
    assert [row[1:] for row in rows] == [done, done, failed, ("rejected", *[None] * 7)]


def test_does_not_touch_a_table_with_other_columns(leads: Leads) -> None:
    leads.write(1)
    leads.run("--replay-id", "first")
    target = leads.folder / "mine.db"
    with sqlite3.connect(target) as connection:
        connection.execute("CREATE TABLE people (replay_id TEXT, name TEXT)")
        connection.execute("INSERT INTO people VALUES ('first', 'Ana')")

    done = leads.replay("results", "first", "--to", f"sqlite:///{target}", "--table", "people")

    assert done.status == 1
    assert "already exists, without the columns flow_id" in done.err
    with sqlite3.connect(target) as connection:
        assert connection.execute("SELECT name FROM people").fetchall() == [("Ana",)]


@pytest.mark.parametrize("url", ["nothing", "mysql://me:s3cret@127.0.0.1/x", "sqlite:////no/such/folder/x.db"])
def test_reports_a_failed_write_without_the_password(leads: Leads, url: str) -> None:
    leads.write(1)
    leads.run("--replay-id", "first")

    done = leads.replay("results", "first", "--to", url, "--table", "t")

    assert done.status == 1
    assert done.err
    assert "s3cret" not in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["--to", "sqlite:///x.db"],
        ["--to", "results.xlsx"],
        ["--table", "t"],
        ["--as-responses", "--format", "csv"],
        ["--as-responses", "--to", "sqlite:///x.db", "--table", "t"],
        ["--state", "done"],
    ],
)
def test_conflicting_options_are_usage_errors(leads: Leads, words: list[str]) -> None:
    assert leads.replay("results", "first", *words).status == 2
