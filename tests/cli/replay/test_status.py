"""``whatsapp-flows replay status`` and ``list``."""

from __future__ import annotations

import json

from tests.cli.replay.test_run import STATUS_KEYS
from tests.cli.replaying import LEADS, Leads
from tests.servers.recording import Answer, RecordingServer


def test_status_is_these_keys_in_json(leads: Leads) -> None:
    leads.write(2)
    leads.run("--replay-id", "first")

    told = leads.status("first")

    assert list(told) == STATUS_KEYS
    assert (told["replay_id"], told["flow_id"], told["total"], told["requests"]) == ("first", "leads", 2, 2)
    assert 0 < told["elapsed_s"] < 60


def test_the_status_text_matches_the_end_of_the_run(leads: Leads, server: RecordingServer) -> None:
    leads.write(3)
    server.queued += [Answer(422), Answer(drop=True)]
    ran = leads.run("--replay-id", "first", "--note", "after the outage")

    told = leads.replay("status", "first")

    assert told.status == 0
    assert told.out == f"ledger sqlite:///{leads.database}\n{ran.out}"
    assert "note: after the outage" in told.out


def test_a_handled_error_and_an_unanswered_question_are_counted(leads: Leads, server: RecordingServer) -> None:
    create = {**LEADS["steps"][1], "on_error": "Ask why"}
    steps = [LEADS["steps"][0], create, {"name": "Ask why", "type": "question"}]
    leads.write(1, flow={**LEADS, "steps": steps})
    server.queued.append(Answer(422))

    done = leads.run("--replay-id", "first")

    told = leads.status("first")
    assert (done.status, told["completed"], told["handled_errors"], told["unanswered"]) == (3, 1, 1, 1)
    assert told["handled"] == 1
    assert "1 error handled by error exits (1 contact), 1 unanswered" in done.out
    assert "not a success: the contact that completed took an error exit" in done.out


def test_refuses_an_unknown_replay_and_suggests_another(leads: Leads) -> None:
    leads.write(1)
    leads.run("--replay-id", "spring-2026")

    done = leads.replay("status", "spring-2025")

    assert done.status == 1
    assert "there is no replay 'spring-2025'" in done.err
    assert "did you mean 'spring-2026'?" in done.err


def test_list_shows_every_replay_the_newest_first(leads: Leads, server: RecordingServer) -> None:
    leads.write(3)
    server.queued.append(Answer(422))
    leads.run("--replay-id", "first")
    leads.run("--replay-id", "second", "--note", "again")

    text = leads.replay("list").out.splitlines()
    rows = json.loads(leads.replay("list", "--format", "json").out)

    assert text[0] == f"ledger sqlite:///{leads.database}"
    assert text[1].split() == [
        "id", "flow", "state", "created", "(UTC)", "total", "pending", "failed", "rejected", "in", "doubt", "note",
    ]  # fmt: skip
    assert [line.split()[0] for line in text[2:]] == ["second", "first"]
    assert text[2].endswith("again")
    assert [(row["replay_id"], row["total"], row["failed"], row["skipped"]) for row in rows] == [
        ("second", 3, 0, 2),
        ("first", 3, 1, 0),
    ]


def test_an_empty_ledger_lists_nothing(leads: Leads) -> None:
    done = leads.replay("list")

    assert (done.status, done.out) == (0, f"the ledger sqlite:///{leads.database} has no replays\n")
