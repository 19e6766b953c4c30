"""``whatsapp-flows replay resolve``: recording the outcome of requests in doubt."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, CommandResult, Write, action, flow
from tests.servers.recording import Answer, RecordingServer

FIRST = action("First", body={"id": "{{ contact.phone }}"}, on_success="Second")
SECOND = action("Second", url="/v1/second", body={"n": "{{ step.First.response.id }}"})


@pytest.fixture
def replay_in_doubt(cli: Cli, write: Write, ledger: list[str], server: RecordingServer) -> RecordingServer:
    """A replay ``b`` whose only contact is in doubt."""
    server.queued.append(Answer(drop=True))
    source = write("r.jsonl", json.dumps({"id": "r-1", "contact": {"phone": "+525500000001"}}) + "\n")
    file = write("a_flow.json", flow(FIRST, SECOND))
    assert cli("replay", "run", file, "--responses", source, "--replay-id", "b", *ledger).status == 3
    return server


def retry(cli: Cli, ledger: list[str]) -> CommandResult:
    return cli("replay", "retry", "b", *ledger)


def test_sent_with_a_reply_resumes_at_the_next_step(
    cli: Cli, write: Write, ledger: list[str], replay_in_doubt: RecordingServer
) -> None:
    reply = write("reply.json", {"id": 77})

    done = cli("replay", "resolve", "b", "r-1", "--as", "sent", "--reply", reply, *ledger)

    assert done.status == 0
    assert "1 request resolved: sent" in done.out
    assert re.search(r"1 contact is pending; `whatsapp-flows replay retry --ledger \S+ b` ", done.out)
    assert retry(cli, ledger).status == 0
    assert [one.target for one in replay_in_doubt.received] == ["/v1/x", "/v1/second"]
    assert json.loads(replay_in_doubt.received[1].content) == {"n": 77}


def test_not_sent_sends_the_request_again(cli: Cli, ledger: list[str], replay_in_doubt: RecordingServer) -> None:
    done = cli(
        "replay", "resolve", "b", "--step", "First", "--visit", 1, "--as", "not_sent", "--format", "json", *ledger
    )

    assert json.loads(done.out) == {"replay_id": "b", "contacts": 1, "requests": 1, "elsewhere": 0, "purged": 0}
    assert retry(cli, ledger).status == 0
    first, again, second = replay_in_doubt.received
    assert (first.target, again.target, second.target) == ("/v1/x", "/v1/x", "/v1/second")
    assert first.content == again.content


def test_a_later_replay_names_the_replay_to_resolve_in(
    cli: Cli, write: Write, ledger: list[str], replay_in_doubt: RecordingServer, tmp_path: Path
) -> None:
    words = ("replay", "run", tmp_path / "a_flow.json", "--responses", tmp_path / "r.jsonl", "--replay-id", "later")
    assert cli(*words, *ledger).status == 3

    done = cli("replay", "resolve", "later", "r-1", "--as", "sent", *ledger)

    assert done.status == 1
    assert "in doubt in the replay b; resolve it there" in done.out
    assert re.search(r"`whatsapp-flows replay retry --state in_doubt --ledger \S+ later`", done.out)
    cli("replay", "resolve", "b", "r-1", "--as", "sent", "--reply", write("reply.json", {"id": 7}), *ledger)
    assert retry(cli, ledger).status == 0
    assert cli("replay", "retry", "later", "--state", "in_doubt", *ledger).status == 0
    assert [one.target for one in replay_in_doubt.received] == ["/v1/x", "/v1/second"]


def test_a_reply_that_is_not_json_is_text(
    cli: Cli, write: Write, ledger: list[str], replay_in_doubt: RecordingServer
) -> None:
    assert cli("replay", "resolve", "b", "r-1", "--as", "sent", "--reply", write("t", "OK 12"), *ledger).status == 0
    assert retry(cli, ledger).status == 3  # the text has no id


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["b", "--as", "sent"], 2, "specify the requests"),
        (["b", "--visit", "1", "--as", "sent"], 2, "specify the requests"),
        (["b", "r-1", "--visit", "1", "--as", "sent"], 2, "requires --step NAME"),
        (["b", "r-1", "--as", "not_sent", "--reply", "x"], 2, "--reply requires --as sent"),
        (["b", "r-1", "--as", "sent", "--reply", "nowhere"], 1, "nowhere: the reply cannot be read"),
        (["b", "r-1"], 2, "--as"),
        (["c", "r-1", "--as", "sent"], 1, "there is no replay 'c'"),
        (["b", "r-2", "--as", "sent"], 1, "nothing was changed"),
    ],
)
def test_rejects_conflicting_options(
    cli: Cli, ledger: list[str], replay_in_doubt: RecordingServer, words: list[str], status: int, message: str
) -> None:
    done = cli("replay", "resolve", *words, *ledger)

    assert done.status == status
    assert message in done.out + done.err


def test_rejects_a_reply_with_broken_json(
    cli: Cli, write: Write, ledger: list[str], replay_in_doubt: RecordingServer
) -> None:
    done = cli("replay", "resolve", "b", "r-1", "--as", "sent", "--reply", write("x.json", '{"id": '), *ledger)

    assert (done.status, "x.json: not_json" in done.err) == (1, True)


FAILED = {"name": "Failed", "type": "end", "state": "failed"}


@pytest.fixture
def replay_with_handled_errors(cli: Cli, write: Write, ledger: list[str], server: RecordingServer) -> RecordingServer:
    """A replay ``b`` of three contacts; an error exit handled two 504 and one 422."""
    server.queued += [Answer(504), Answer(504), Answer(422)]
    rows = [{"id": f"r-{n}", "contact": {"phone": f"+52550000000{n}"}} for n in range(3)]
    source = write("r.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    file = write("a_flow.json", flow({**FIRST, "on_error": "Failed"}, SECOND, FAILED))
    words = ["--responses", source, "--replay-id", "b", "--concurrency", 1]
    assert cli("replay", "run", file, *words, *ledger).status == 3
    return server


def test_resolving_a_handled_server_error_lets_a_retry_continue(
    cli: Cli, write: Write, ledger: list[str], replay_with_handled_errors: RecordingServer
) -> None:
    reply = write("reply.json", {"id": 77})

    without = cli("replay", "resolve", "b", "--step", "First", "--as", "sent", *ledger)
    sent = cli("replay", "resolve", "b", "r-0", "--handled", "--as", "sent", "--reply", reply, *ledger)
    not_sent = cli("replay", "resolve", "b", "--step", "First", "--handled", "--as", "not_sent", *ledger)

    assert (without.status, "add --handled" in without.out) == (1, True)
    assert (sent.status, "1 request resolved: sent" in sent.out) == (0, True)
    assert (not_sent.status, "1 request resolved: not_sent" in not_sent.out) == (
        0,
        True,
    )  # and not what was answered 422
    replay_with_handled_errors.received.clear()
    assert retry(cli, ledger).status == 0
    targets = [one.target for one in replay_with_handled_errors.received]
    assert (targets.count("/v1/x"), targets.count("/v1/second")) == (2, 3)  # the 422 is sent again by itself
    assert {"n": 77} in [
        json.loads(one.content) for one in replay_with_handled_errors.received if one.target == "/v1/second"
    ]


def test_does_not_resolve_a_status_that_means_not_processed(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    server.queued.append(Answer(503))
    source = write("r.jsonl", json.dumps({"id": "r-1", "contact": {"phone": "+525500000001"}}) + "\n")
    listed = {**FIRST, "on_error": "Failed", "retry": {"attempts": 1, "statuses": [503]}}
    file = write("a_flow.json", flow(listed, SECOND, FAILED))
    assert cli("replay", "run", file, "--responses", source, "--replay-id", "b", *ledger).status == 3

    done = cli("replay", "resolve", "b", "r-1", "--handled", "--as", "sent", *ledger)

    assert (done.status, "no handled error matches" in done.out) == (1, True)


@pytest.mark.parametrize("name", ["First", "Primary", "Main"])
def test_resolves_a_step_by_any_of_its_names(
    cli: Cli, write: Write, ledger: list[str], replay_in_doubt: RecordingServer, name: str
) -> None:
    """The step was sent as First, then became Primary with the id First, and is now Main."""
    for now, more in (("Primary", {"id": "First"}), ("Main", {"id": "main"})):
        steps = [{**FIRST, "name": now, **more}, {**SECOND, "body": {"n": f"{{{{ step.{now}.response.id }}}}"}}]
        pairs = ["--renamed", "First=Main"] if now == "Main" else []
        words = ["--flow", write("new.json", flow(*steps)), "--state", "in_doubt", *pairs]
        assert cli("replay", "retry", "b", *words, *ledger).status == 3

    done = cli("replay", "resolve", "b", "--step", name, "--as", "not_sent", *ledger)

    expected = 0 if name != "Primary" else 1  # a name that nothing was sent under, and that the flow has no more
    assert done.status == expected


def test_not_sent_does_not_repeat_a_later_visit_of_a_loop(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    server.queued += [Answer(504), Answer.json({"id": 5})]
    source = write("r.jsonl", json.dumps({"id": "r-1", "contact": {"phone": "+525500000001"}}) + "\n")
    again = {"name": "Again", "type": "go_to", "next": "First"}
    file = write("a_flow.json", flow({**FIRST, "on_error": "Again"}, SECOND, again))
    words = ["--responses", source, "--replay-id", "b"]
    cli("replay", "run", file, *words, *ledger)
    assert [one.target for one in server.received] == ["/v1/x", "/v1/x", "/v1/second"]

    done = cli("replay", "resolve", "b", "--step", "First", "--handled", "--as", "not_sent", *ledger)
    chosen = cli("replay", "resolve", "b", "--step", "First", "--visit", 1, "--handled", "--as", "not_sent", *ledger)

    assert (done.status, "nothing was changed" in done.out) == (1, True)
    assert (chosen.status, "1 request resolved: not_sent" in chosen.out) == (0, True)
