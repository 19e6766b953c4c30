"""``whatsapp-flows replay run --canary``: the first contacts are sent, and the others only by ``--release``."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.holds import hold_after
from tests.cli.conftest import COMMAND, Cli
from tests.cli.replaying import LEADS, Leads, json_lines, lead
from tests.replay.runs import await_true
from tests.servers.recording import Answer, RecordingServer

CHUNKS = {**LEADS, "replay": {"chunk_size": 4}}
KEYED = {
    **CHUNKS,
    "steps": [{**step, "delivery": "keyed"} if step["type"] == "action" else step for step in LEADS["steps"]],
}


def phones(server: RecordingServer) -> list[str]:
    return sorted(json.loads(request.content)["phone"] for request in server.received)


def first(count: int) -> list[str]:
    return [lead(number)["contact"]["phone"] for number in range(count)]


def test_sends_the_first_contacts_and_holds_the_others(leads: Leads, server: RecordingServer) -> None:
    leads.write(20, flow=CHUNKS)

    done = leads.run("--canary", 6, "--replay-id", "first")

    assert (done.status, phones(server)) == (4, first(6))
    assert "canary: 6 contacts; 14 of 20 are held" in done.out
    assert (
        "14 contacts held: rerun the same command with --replay-id=first and --release in place of --canary" in done.out
    )
    assert leads.status("first")["pending"] == 14


def test_the_same_command_again_sends_nothing(leads: Leads, server: RecordingServer) -> None:
    leads.write(20, flow=CHUNKS)
    leads.run("--canary", 6)

    again = leads.run("--canary", 6)
    without = leads.run()

    assert (again.status, without.status, len(server.received)) == (4, 4, 6)
    assert "the canary of the replay" in again.err
    assert "14 contacts held" in without.out


def test_release_sends_each_of_the_others_once(leads: Leads, server: RecordingServer) -> None:
    leads.write(20, flow=CHUNKS)
    leads.run("--canary", 6)

    done = leads.run("--release")

    assert (done.status, phones(server)) == (0, first(20))
    assert "canary" not in done.out
    assert leads.run("--release").status == 0
    assert len(server.received) == 20


def test_a_larger_canary_adds_contacts(leads: Leads, server: RecordingServer) -> None:
    leads.write(20, flow=CHUNKS)
    leads.run("--canary", 2)

    leads.run("--canary", 9)

    assert phones(server) == first(9)


def test_a_smaller_canary_is_refused(leads: Leads, server: RecordingServer) -> None:
    leads.write(20, flow=CHUNKS)
    leads.run("--canary", 9)

    done = leads.run("--canary", 2)

    assert len(server.received) == 9
    assert "already has 9 contacts" in done.err


def test_all_are_sent_if_there_are_no_others(leads: Leads, server: RecordingServer) -> None:
    leads.write(5, flow=CHUNKS)

    done = leads.run("--canary", 5)

    assert (done.status, len(server.received)) == (0, 5)
    assert "held" not in done.out


def test_rows_that_are_not_sent_do_not_count(leads: Leads, server: RecordingServer) -> None:
    leads.write(0, "{\n", json_lines([lead(n) for n in range(8)]))

    leads.run("--canary", 3)

    assert phones(server) == first(3)


def test_retrying_failed_contacts_does_not_send_those_that_are_held(leads: Leads, server: RecordingServer) -> None:
    leads.write(20, flow=CHUNKS)
    server.queued += [Answer(422)] * 6
    leads.run("--canary", 6, "--replay-id", "first")

    done = leads.replay("retry", "first", *leads.send_options[:4])

    assert (done.status, len(server.received)) == (4, 12)
    assert phones(server) == sorted(first(6) * 2)


def test_release_without_a_canary_is_refused(leads: Leads, server: RecordingServer) -> None:
    leads.write(3)
    nothing = leads.run("--release")
    leads.write(3, flow={**LEADS, "replay": {"max_failures": 1, "concurrency": 1}})
    server.queued += [Answer(422)] * 2
    leads.run()

    done = leads.run("--release")

    assert (nothing.status, done.status, len(server.received)) == (1, 1, 2)
    assert "there is no replay of these responses" in nothing.err
    assert "has no canary" in done.err


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", ""])
def test_refuses_any_other_number(leads: Leads, server: RecordingServer, text: str) -> None:
    leads.write(3)

    assert leads.run("--canary", text).status == 2
    assert leads.run("--canary", "2", "--release").status == 2
    assert server.received == []


def test_reports_exits_shapes_and_errors_without_personal_data(leads: Leads, server: RecordingServer) -> None:
    leads.write(20, flow={**CHUNKS, "replay": {"concurrency": 1}})
    server.queued += [
        Answer.json({"id": 7, "name": "Ana María", "Ana María": 1, "+525512340000": 2, "status": "ok"}),
        Answer.json({"errors": ["phone +525512340001 is taken"]}, 422),
        Answer(200, b"<html>", {"Content-Type": "text/html; charset=utf-8"}),
        Answer(204),
        Answer.json([1, 2]),
    ]

    done = leads.run("--canary", 5, "--format", "json")

    told = json.loads(done.out)["canary"]
    assert (told["size"], told["held"], told["states"]) == (5, 15, {"completed": 4, "failed": 1})
    assert told["exits"] == [
        {"step": "Create contact", "exit": "success", "visits": 4},
        {"step": "Create contact", "exit": "error", "visits": 1},
    ]
    replies = {(one["status"], one["content_type"], tuple(one["keys"])): one["count"] for one in told["replies"]}
    assert replies == {
        (200, "application/json", ("id", "name", "status", "…")): 1,
        (422, "application/json", ("errors",)): 1,
        (200, "text/html", ("text",)): 1,
        (204, None, ("empty",)): 1,
        (200, "application/json", ("a list",)): 1,
    }
    text = leads.run("--canary", 5).out
    for shown in ("Create contact  error", "id, name, status, …", "error ", "422"):
        assert shown in text
    for hidden in ("Ana María", "12340000", "12340001"):
        assert hidden not in text + json.dumps(told)


@pytest.mark.parametrize(("answer", "sent"), [("y\n", 20), ("n\n", 6), ("", 6)])
def test_asks_on_a_terminal(
    leads: Leads, server: RecordingServer, monkeypatch: pytest.MonkeyPatch, answer: str, sent: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    leads.write(20, flow=CHUNKS)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    done = leads.run("--canary", 6)

    assert phones(server) == first(sent)
    assert done.status == (0 if sent == 20 else 4)
    assert "Release the other 14 contacts now? [y/N]" in done.out


@pytest.mark.long
def test_workers_send_the_same_contacts(leads: Leads, server: RecordingServer) -> None:
    leads.write(60, flow=CHUNKS)

    assert leads.run("--canary", 13, "--workers", 2).status == 4
    assert phones(server) == first(13)

    assert leads.run("--release", "--workers", 2).status == 0
    assert phones(server) == first(60)


@pytest.mark.long
def test_a_killed_canary_continues_with_its_contacts(leads: Leads, server: RecordingServer, process: Cli) -> None:
    leads.write(60, flow={**KEYED, "replay": {"chunk_size": 4, "concurrency": 2}})
    words = [str(word) for word in leads.run_words("--canary", 23)]
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        await_true(lambda: len(server.received) >= 5 or running.poll() is not None)
        running.kill()
    assert set(phones(server)) < set(first(23))

    done = process(*words)  # the server, in this process, complains of connections that were cut

    assert done.status == 4, done.err
    assert set(phones(server)) == set(first(23))
    keys: dict[str, Any] = {}
    for request in server.received:  # sent again only with the same key
        assert keys.setdefault(json.loads(request.content)["phone"], request.header("Idempotency-Key"))
        assert keys[json.loads(request.content)["phone"]] == request.header("Idempotency-Key")


def test_a_replay_that_another_command_sends_cannot_get_a_canary(
    leads: Leads, server: RecordingServer, process: Cli
) -> None:
    """The other command goes on with what it has begun, so `held` would be untrue."""
    arrived, go_on = threading.Event(), threading.Event()
    later = threading.Timer(10, go_on.set)

    def hold_up(_: Any) -> Answer:
        arrived.set()
        go_on.wait(60)
        return Answer.json({})

    server._script = hold_up
    leads.write(20, flow={**CHUNKS, "replay": {"concurrency": 1}})
    words = [str(word) for word in leads.run_words("--replay-id", "first")]
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            assert arrived.wait(60)
            # Its chunk is taken, so a command that holds contacts would wait until it goes on.
            later.start()
            done = process(*leads.run_words("--canary", 2, "--replay-id", "first"))
        finally:
            later.cancel()
            go_on.set()
        assert running.wait(60) == 0

    assert (done.status, done.out) == (1, "")
    assert "--canary: the replay 'first' is running, and sends all of its contacts" in done.err
    assert phones(server) == first(20)


def test_release_sends_what_an_approval_has_limited(leads: Leads, server: RecordingServer) -> None:
    leads.write(5, flow=CHUNKS)
    leads.run("--replay-id", "first", "--canary", 2)
    with Ledger(leads.ledger_url) as ledger:
        hold_after(ledger, 1, "limit", 1)
        assert hold_after(ledger, 1, "canary", 9, "of an approval") is None
    assert leads.run("--replay-id", "first").status == 4

    done = leads.run("--replay-id", "first", "--release")

    assert (done.status, phones(server)) == (0, first(5))


def test_another_replay_is_told_how_to_send_what_is_held(leads: Leads, server: RecordingServer) -> None:
    leads.write(5, flow=CHUNKS)
    leads.run("--replay-id", "first", "--canary", 2)

    done = leads.run("--replay-id", "second")

    assert (done.status, len(server.received)) == (4, 2)
    assert "postponed: 3 contacts: pending in the replay first: " in done.out
    assert "`replay run … --release` if it is held there" in done.out


def test_the_first_command_again_holds_nobody_once_all_have_ended(leads: Leads, server: RecordingServer) -> None:
    leads.write(5, flow={**CHUNKS, "replay": {"concurrency": 1}})
    server.queued += [Answer(200)] * 4 + [Answer(422)]
    leads.run("--replay-id", "first", "--canary", 2)
    assert leads.run("--replay-id", "first", "--release").status == 3
    assert leads.run("--replay-id", "first", "--canary", 2).status == 3

    done = leads.replay("retry", "first", *leads.send_options[:4])

    assert (done.status, len(server.received)) == (0, 6)
