"""A response whose content changed under the same id is rejected or sent again, never mistaken for the old one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.replaying import LEADS, Leads, json_lines, lead
from tests.servers.recording import Answer, RecordingServer

TWO_STEPS = json.loads(json.dumps(LEADS))
TWO_STEPS["steps"][1]["on_success"] = "Note"
TWO_STEPS["steps"].append({**TWO_STEPS["steps"][1], "name": "Note", "url": "/v1/notes", "on_success": None})


def lead_with_name(number: int, name: str) -> dict[str, Any]:
    return lead(number, step={"Ask name": name})


def names_sent(server: RecordingServer) -> list[tuple[str, str]]:
    """Phone and name of each request, in order."""
    bodies = [json.loads(request.content) for request in server.received]
    return [(body["phone"][-1], body["name"]) for body in bodies]


def write(leads: Leads, *responses: dict[str, Any], flow: Any = LEADS) -> None:
    leads.flow.write_text(json.dumps(flow), encoding="utf-8")
    leads.responses.write_text(json_lines(responses), encoding="utf-8")


def test_changed_rows_are_rejected_by_name_and_others_completed(leads: Leads, server: RecordingServer) -> None:
    write(leads, lead_with_name(1, "Ana"), lead_with_name(2, "Eva"))
    leads.run("--replay-id", "first")
    write(leads, lead_with_name(1, "Ana"), lead_with_name(2, "Eve"))

    done = leads.run("--replay-id", "second")

    assert done.status == 3
    assert leads.status("second")["rejected"] == 1
    assert sorted(names_sent(server)) == [("1", "Ana"), ("2", "Eva")]
    reason = leads.results("second", "--state", "rejected")[0]["reason"]
    assert reason.startswith("id_reused: the replay first has the same id with different content")
    assert 'on_changed "update"' in reason


def test_update_sends_only_changed_content(leads: Leads, server: RecordingServer) -> None:
    write(leads, lead_with_name(1, "Ana"), lead_with_name(2, "Eva"))
    leads.run("--replay-id", "first")
    write(leads, lead_with_name(1, "Ana"), lead_with_name(2, "Eve"))

    assert leads.run("--replay-id", "second", "--on-changed", "update").status == 0

    assert sorted(names_sent(server)) == [("1", "Ana"), ("2", "Eva"), ("2", "Eve")]
    assert names_sent(server)[-1] == ("2", "Eve")
    assert (leads.status("second")["completed"], leads.status("second")["skipped"]) == (1, 1)
    first, second = leads.results("first")[1]["actions"], leads.results("second")[1]["actions"]
    assert len(first) == len(second) == 1  # each shows what was sent of its own content
    assert first[0]["idempotency_key"] != second[0]["idempotency_key"]
    # Rerun: everything is done.
    assert leads.run("--replay-id", "third", "--on-changed", "update").status == 0
    assert leads.status("third")["skipped"] == 2
    assert len(server.received) == 3


def test_resends_content_that_returns_to_an_earlier_version(leads: Leads, server: RecordingServer) -> None:
    for number, name in enumerate(("Ana", "Eva", "Ana", "Eva")):
        write(leads, lead_with_name(1, name))
        assert leads.run("--replay-id", f"r{number}", "--on-changed", "update").status == 0

    assert [name for _, name in names_sent(server)] == ["Ana", "Eva", "Ana", "Eva"]
    assert leads.sql("SELECT epoch FROM whatsapp_flows_attempts ORDER BY id") == [(1,), (2,), (3,), (4,)]


def test_only_fields_that_a_flow_can_read_are_content(leads: Leads, server: RecordingServer) -> None:
    write(leads, {**lead_with_name(1, "Ana"), "created_on": "2026-11-20"})
    leads.run("--replay-id", "first")
    write(leads, dict(reversed({**lead_with_name(1, "Ana"), "created_on": "2026-11-21"}.items())))

    assert leads.run("--replay-id", "second").status == 0
    assert leads.status("second")["skipped"] == 1
    assert len(server.received) == 1


def test_the_flow_sets_the_policy_for_changed_rows(leads: Leads, server: RecordingServer) -> None:
    flow = {**LEADS, "replay": {"on_changed": "update"}}
    write(leads, lead_with_name(1, "Ana"), flow=flow)
    leads.run()
    write(leads, lead_with_name(1, "Eva"), flow=flow)

    assert leads.run("--on-changed", "reject").status == 3
    assert leads.run().status == 0
    assert [name for _, name in names_sent(server)] == ["Ana", "Eva"]


def test_refuses_to_resume_classified_rows_under_another_policy(leads: Leads) -> None:
    write(leads, lead_with_name(1, "Ana"))
    leads.run("--replay-id", "one")

    done = leads.run("--replay-id", "one", "--on-changed", "update")

    assert done.status == 1
    assert "'one' was started with on_changed 'reject'" in done.err
    assert "another replay id" in done.err


def test_rejects_an_id_with_two_contents_in_one_source(leads: Leads, server: RecordingServer) -> None:
    write(leads, lead_with_name(1, "Ana"), lead_with_name(1, "Eva"), lead_with_name(1, "Ana"))

    assert leads.run("--replay-id", "one", "--on-changed", "update").status == 3

    assert [name for _, name in names_sent(server)] == ["Ana"]
    assert [one["state"] for one in leads.results("one")] == ["completed", "rejected", "skipped"]


def test_changed_content_waits_for_the_fate_of_the_old_content(leads: Leads, server: RecordingServer) -> None:
    write(leads, lead_with_name(1, "Ana"))
    server.queued.append(Answer(drop=True))
    assert leads.run("--replay-id", "first").status == 3
    write(leads, lead_with_name(1, "Eva"))

    assert leads.run("--replay-id", "second", "--on-changed", "update").status == 3

    found = leads.results("second")[0]
    assert found["state"] == "in_doubt"
    assert "the replay first may have sent earlier content of this response (step Create contact)" in found["reason"]
    assert "`replay resolve first`" in found["reason"]
    assert "`replay retry --state in_doubt second`" in found["reason"]
    assert len(server.received) == 1
    # The printed advice helps.
    leads.replay("resolve", "second", "r-1", "--as", "sent")  # it is not in doubt here
    assert leads.cli("replay", "retry", "second", "--state", "in_doubt", *leads.send_options).status == 3
    assert len(server.received) == 1
    assert leads.replay("resolve", "first", "r-1", "--as", "sent").status == 0
    assert leads.cli("replay", "retry", "first", *leads.send_options).status == 0
    assert leads.cli("replay", "retry", "second", "--state", "in_doubt", *leads.send_options).status == 0
    assert [name for _, name in names_sent(server)] == ["Ana", "Eva"]
    assert leads.status("second")["completed"] == 1


def test_the_original_replay_can_resolve_doubts_about_old_content(leads: Leads, server: RecordingServer) -> None:
    keyed = json.loads(json.dumps(LEADS))
    keyed["steps"][1] |= {"delivery": "keyed", "retry": {"attempts": 1}}
    write(leads, lead_with_name(1, "Ana"), flow=keyed)
    server.queued.append(Answer(drop=True))
    leads.run("--replay-id", "first")
    write(leads, lead_with_name(1, "Eva"), flow=keyed)
    leads.run("--replay-id", "second", "--on-changed", "update")

    assert leads.cli("replay", "retry", "first", "--state", "in_doubt", *leads.send_options).status == 0
    assert leads.cli("replay", "retry", "second", "--state", "in_doubt", *leads.send_options).status == 0

    assert [name for _, name in names_sent(server)] == ["Ana", "Ana", "Eva"]


def test_retrying_an_older_replay_does_not_overwrite_newer_content(leads: Leads, server: RecordingServer) -> None:
    write(leads, lead_with_name(1, "Ana"))
    server.queued.append(Answer(422))
    assert leads.run("--replay-id", "first").status == 3
    write(leads, lead_with_name(1, "Eva"))
    assert leads.run("--replay-id", "second", "--on-changed", "update").status == 0

    assert leads.cli("replay", "retry", "first", *leads.send_options).status == 0

    assert [name for _, name in names_sent(server)] == ["Ana", "Eva"]
    found = leads.results("first")[0]
    assert found["state"] == "skipped"
    assert found["reason"].startswith("superseded: the replay second has newer content of this response")


def test_newer_content_waits_for_a_pending_older_replay(leads: Leads, server: RecordingServer) -> None:
    write(
        leads, *(lead_with_name(number, "Ana") for number in range(3)), flow=TWO_STEPS | {"replay": {"max_failures": 1}}
    )
    server.queued.extend([Answer(422), Answer(422)])
    assert leads.run("--replay-id", "first", "--concurrency", 1).status == 4
    pending = leads.status("first")["pending"]
    assert pending
    write(leads, *(lead_with_name(number, "Eva") for number in range(3)), flow=TWO_STEPS)

    done = leads.run("--replay-id", "second", "--on-changed", "update")

    # The pending contact of the older replay is superseded, and the newer one sends it.
    assert done.status == 4
    assert "pending in the replay first" in done.out
    leads.cli("replay", "retry", "first", "--state", "failed", *leads.send_options)
    assert leads.run("--replay-id", "second", "--on-changed", "update").status == 0
    names = [name for _, name in names_sent(server)]
    assert names.count("Eva") == 6
    assert "Ana" not in names[names.index("Eva") :]
    assert leads.status("first")["pending"] == 0


@pytest.mark.parametrize("rule", ["reject", "update"])
def test_a_plan_counts_changed_rows(leads: Leads, rule: str) -> None:
    write(leads, *(lead_with_name(number, "Ana") for number in range(5)))
    leads.run("--replay-id", "first")
    write(leads, *(lead_with_name(number, "Ana" if number < 3 else "Eva") for number in range(5)))
    words = ["replay", "plan", leads.flow, "--responses", leads.responses, *leads.send_options, "--on-changed", rule]

    planned = json.loads(leads.cli(*words, "--format", "json").out)

    counts = {"reject": (0, 2), "update": (2, 0)}[rule]
    assert (planned["walked"], planned["rejected"], planned["changed"]) == (*counts, 2)
    assert "of these, changed since they were sent" in leads.cli(*words).out
    # A started replay reports the same.
    leads.run("--replay-id", "second", "--on-changed", rule)
    assert json.loads(leads.cli(*words, "--replay-id", "second", "--format", "json").out)["changed"] == 2


def test_force_resends_and_records_the_newest_content(leads: Leads, server: RecordingServer) -> None:
    write(leads, lead_with_name(1, "Ana"))
    leads.run("--replay-id", "first")
    write(leads, lead_with_name(1, "Eva"))
    assert leads.run("--replay-id", "forced", "--force").status == 0
    assert leads.run("--replay-id", "third").status == 0  # it is the newest content, and done
    write(leads, lead_with_name(1, "Ana"))

    assert leads.run("--replay-id", "fourth").status == 3
    assert [name for _, name in names_sent(server)] == ["Ana", "Eva"]


def test_the_first_epoch_keeps_the_key_format_of_earlier_releases(leads: Leads) -> None:
    from airflow_whatsapp_flows.flow.delivery.rule import idempotency_key

    write(leads, lead_with_name(1, "Ana"))
    leads.run("--replay-id", "first")
    write(leads, lead_with_name(1, "Eva"))
    leads.run("--replay-id", "second", "--on-changed", "update")

    keys = [row[0] for row in leads.sql("SELECT key FROM whatsapp_flows_attempts ORDER BY id")]
    assert keys[0] == idempotency_key("leads", "Create contact", "r-1", 1, None)
    assert keys[1] == idempotency_key("leads", "Create contact", "r-1", 1, 2)


def test_a_skipped_contact_keeps_its_unknown_outcome(leads: Leads, server: RecordingServer) -> None:
    write(leads, lead_with_name(1, "Ana"))
    server.queued.append(Answer(drop=True))
    assert leads.run("--replay-id", "first").status == 3
    write(leads, lead_with_name(1, "Ana"), flow={**LEADS, "replay": {"max_age": 60}})
    words = ["--flow", leads.flow, "--state", "in_doubt", *leads.send_options]

    assert leads.cli("replay", "retry", "first", *words).status == 3

    found = leads.results("first")[0]
    assert (found["state"], len(server.received)) == ("in_doubt", 1)
    assert "no_created_on" in found["reason"]
    assert leads.replay("resolve", "first", "r-1", "--as", "sent").status == 0
    assert leads.cli("replay", "retry", "first", *leads.send_options).status == 0
    assert (leads.results("first")[0]["state"], len(server.received)) == ("skipped", 1)


def test_recognizes_a_partly_sent_skipped_contact_by_its_content(leads: Leads, server: RecordingServer) -> None:
    write(leads, lead_with_name(1, "Ana"), flow=TWO_STEPS)
    server.queued.extend([Answer.json({}), Answer.json({}, 422)])
    assert leads.run("--replay-id", "first").status == 3
    write(leads, lead_with_name(1, "Ana"), flow={**TWO_STEPS, "replay": {"max_age": 60}})
    assert leads.cli("replay", "retry", "first", "--flow", leads.flow, *leads.send_options).status == 0
    assert leads.results("first")[0]["state"] == "skipped"
    write(leads, lead_with_name(1, "Eva"), flow=TWO_STEPS)

    assert leads.run("--replay-id", "second").status == 3

    assert leads.results("second")[0]["reason"].startswith("id_reused: ")
    assert len(server.received) == 2
