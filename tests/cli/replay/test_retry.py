"""``whatsapp-flows replay retry``: selected contacts resume where they failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli, Write, action, flow
from tests.servers.recording import Answer, Received, RecordingServer

FIRST = action("First", body={"id": "{{ contact.phone }}"}, on_success="Second")
SECOND = action("Second", url="/v1/second", body={"id": "{{ contact.phone }}", "n": "{{ step.First.response.id }}"})


def responses(write: Write, number: int) -> Path:
    values = [{"id": f"r-{n}", "contact": {"phone": f"+5255000000{n:02}"}} for n in range(number)]
    return write("r.jsonl", "".join(json.dumps(value) + "\n" for value in values))


def run_replay(cli: Cli, write: Write, ledger: list[str], number: int = 3, *steps: dict[str, Any]) -> int:
    file = write("a_flow.json", flow(*(steps or (FIRST, SECOND))))
    return cli("replay", "run", file, "--responses", responses(write, number), "--replay-id", "b", *ledger).status


def requests_to(server: RecordingServer, target: str) -> list[Any]:
    return sorted(json.loads(one.content)["id"] for one in server.received if one.target == target)


def states(cli: Cli, ledger: list[str]) -> dict[str, str]:
    done = cli("replay", "results", "b", *ledger)
    return {row["id"]: row["state"] for row in map(json.loads, done.out.splitlines())}


def refusing_server(target: str, phone: str) -> RecordingServer:
    def script(received: Received) -> Answer:
        refused = received.target == target and phone in received.content.decode()
        return Answer.json({"error": "no"}, 422) if refused else Answer.json({"id": 1})

    return RecordingServer(script)


def test_resends_only_failed_contacts_from_where_they_failed(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    server.queued.extend([Answer.json({"id": 1}), Answer(422)])
    assert run_replay(cli, write, ledger, 1) == 3

    done = cli("replay", "retry", "b", *ledger, "--format", "json")

    assert done.status == 0
    assert "1 contact selected" in done.err
    assert json.loads(done.out)["completed"] == 1
    assert len(requests_to(server, "/v1/x")) == 1
    assert len(requests_to(server, "/v1/second")) == 2
    assert states(cli, ledger) == {"r-0": "completed"}


def test_retries_a_single_contact_until_it_succeeds(
    cli: Cli, write: Write, ledger: list[str], monkeypatch: pytest.MonkeyPatch, server: RecordingServer
) -> None:
    broken = refusing_server("/v1/second", "01")
    monkeypatch.setenv("AIRFLOW_CONN_CRM", broken.url)
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS", broken.host)
    assert run_replay(cli, write, ledger) == 3
    assert cli("replay", "retry", "b", *ledger).status == 3
    assert len(requests_to(broken, "/v1/second")) == 4
    broken.close()

    monkeypatch.setenv("AIRFLOW_CONN_CRM", server.url)
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS", server.host)
    done = cli("replay", "retry", "b", *ledger)

    assert done.status == 0
    assert [one.target for one in server.received] == ["/v1/second"]


def test_retry_resumes_with_a_fixed_flow(cli: Cli, write: Write, ledger: list[str], server: RecordingServer) -> None:
    server.queued.extend([Answer.json({"id": 1}), Answer(404)])
    run_replay(cli, write, ledger, 1)
    mended = write("mended.json", flow(FIRST, {**SECOND, "url": "/v2/second"}))

    assert cli("replay", "retry", "b", "--flow", mended, *ledger).status == 0
    assert [one.target for one in server.received] == ["/v1/x", "/v1/second", "/v2/second"]


def test_rejects_another_flow_and_selects_nothing(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    server.queued.append(Answer(404))
    run_replay(cli, write, ledger, 1)
    other = write("other.json", {**flow(FIRST, SECOND), "id": "other"})

    done = cli("replay", "retry", "b", "--flow", other, *ledger)

    assert (done.status, "a fixed flow must keep its id" in done.err) == (1, True)
    assert states(cli, ledger) == {"r-0": "failed"}
    assert len(server.received) == 1


def test_selects_a_handled_error_by_its_step(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    tell = action("Tell", url="/v1/tell", body={"id": "{{ contact.phone }}"})
    server.queued.append(Answer(404))
    assert run_replay(cli, write, ledger, 1, {**FIRST, "on_success": None, "on_error": "Tell"}, tell) == 3

    assert cli("replay", "retry", "b", *ledger).status == 3
    assert len(server.received) == 2
    done = cli("replay", "retry", "b", "--step", "First", "--outcome", "error", *ledger)

    assert done.status == 0
    assert [one.target for one in server.received] == ["/v1/x", "/v1/tell", "/v1/x"]


def test_an_empty_selection_reports_other_matches(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    server.queued.append(Answer(500))
    assert run_replay(cli, write, ledger, 1) == 3
    sent = len(server.received)
    shown = json.loads(cli("replay", "results", "b", *ledger).out)
    assert shown["state"] == "in_doubt"

    done = cli("replay", "retry", "b", "--since", "2020-01-01", *ledger)

    assert done.status == 3
    assert "0 contacts selected" in done.err
    assert "1 in_doubt: select them with --state" in done.err
    assert len(server.received) == sent


def test_at_most_once_requests_in_doubt_stay_in_doubt(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    server.queued.append(Answer(500))
    run_replay(cli, write, ledger, 1)

    done = cli("replay", "retry", "b", "--state", "in_doubt", *ledger)

    assert (done.status, len(server.received)) == (3, 1)
    assert states(cli, ledger) == {"r-0": "in_doubt"}


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nothing"], 1, "there is no replay 'nothing'"),
        (["b", "--outcome", "error"], 2, "requires --step NAME"),
        (["b", "--step", "Frist"], 1, "did you mean 'First'"),
        (["b", "--state", "rejected"], 1, "fix it in the source"),
        (["b", "--since", "yesterday"], 2, "is not a date or date and time"),
    ],
)
def test_rejects_conflicting_options(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer, words: list[str], status: int, message: str
) -> None:
    run_replay(cli, write, ledger, 1)
    sent = len(server.received)

    done = cli("replay", "retry", *words, *ledger)

    assert done.status == status
    assert message in done.err
    assert len(server.received) == sent


FAILED = {"name": "Failed", "type": "end", "state": "failed"}
BY_ERROR_EXIT = {**FIRST, "on_success": None, "on_error": "Failed"}


@pytest.mark.parametrize("answer", [Answer(504), Answer(500), Answer(408), Answer.json({"ok": False}, 200)])
def test_a_plain_retry_does_not_resend_possibly_applied_requests(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer, answer: Answer
) -> None:
    server.queued.extend([answer] * 3)
    success = {"success_when": "response.ok is not defined or response.ok"}
    assert run_replay(cli, write, ledger, 3, {**BY_ERROR_EXIT, **success}, FAILED) == 3
    assert states(cli, ledger) == {"r-0": "failed", "r-1": "failed", "r-2": "failed"}

    done = cli("replay", "retry", "b", *ledger)

    assert (done.status, len(server.received)) == (3, 3)
    assert "0 contacts selected" in done.err
    assert "3 contacts left out: the request may have been applied, and is not sent again (First: answered" in done.err
    assert "replay retry --accept-duplicates b" in done.err
    assert states(cli, ledger) == {"r-0": "failed", "r-1": "failed", "r-2": "failed"}

    accepted = cli("replay", "retry", "b", "--accept-duplicates", *ledger)

    assert (accepted.status, len(server.received)) == (0, 6)
    shown = cli("ledger", "find", "--phone", "+525500000001", *ledger).out
    assert "sending it again was accepted by" in shown


def test_resends_a_status_listed_as_not_processed(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    server.queued.append(Answer(503))
    listed = {**BY_ERROR_EXIT, "retry": {"attempts": 1, "statuses": [503]}}
    assert run_replay(cli, write, ledger, 1, listed, FAILED) == 3

    assert cli("replay", "retry", "b", *ledger).status == 0
    assert len(server.received) == 2


def test_another_replay_does_not_resend_it(cli: Cli, write: Write, ledger: list[str], server: RecordingServer) -> None:
    server.queued.append(Answer(504))
    assert run_replay(cli, write, ledger, 1, BY_ERROR_EXIT, FAILED) == 3
    words = ["replay", "run", write("a_flow.json", flow(BY_ERROR_EXIT, FAILED)), "--responses", responses(write, 1)]

    done = cli(*words, "--replay-id", "other", *ledger)

    assert (done.status, len(server.received)) == (3, 1)


def test_retries_handled_errors_without_a_step(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    tell = action("Tell", url="/v1/tell", body={"id": "{{ contact.phone }}"})
    server.queued.extend([Answer(401), Answer.json({})])
    run_replay(cli, write, ledger, 1, {**FIRST, "on_success": None, "on_error": "Tell"}, tell)
    server.queued.extend([Answer(503), Answer.json({})])
    done = cli("replay", "retry", "b", "--handled", *ledger)

    assert "1 contact selected" in done.err
    assert [one.target for one in server.received] == ["/v1/x", "/v1/tell", "/v1/x"]

    done = cli("replay", "retry", "b", "--handled", *ledger)

    assert "0 contacts selected" in done.err
    assert "may have been applied" in done.err  # it was answered 503
    assert len(server.received) == 3


def test_retries_the_named_responses_and_any_of_the_named_steps(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    server.queued.extend(Answer(422) for _ in range(3))
    assert run_replay(cli, write, ledger, 3, action("First")) == 3

    done = cli("replay", "retry", "b", *ledger, "--response", "r-0", "--response", "r-2", "--step", "First")

    assert done.status == 3, "r-1 is still failed"
    assert "2 contacts selected" in done.err
    assert states(cli, ledger) == {"r-0": "completed", "r-1": "failed", "r-2": "completed"}
    done = cli("replay", "retry", "b", *ledger, "--response", "r-9")
    assert (done.status, "there is no response 'r-9' in the replay 'b'" in done.err) == (1, True)
    done = cli("replay", "retry", "b", *ledger, "--response", "r-0")
    assert "the same conditions match 1 completed: select them with --state" in done.err
