"""An outage doesn't look like a success, however the flow handles errors."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.cli.conftest import action, flow
from tests.cli.replaying import Leads
from tests.servers.recording import Answer, Received, RecordingServer


def flow_with_error_exit(**keys: Any) -> dict[str, Any]:
    create = action("Create", url="/v1/contacts", body={"phone": "{{ contact.phone }}"}, on_error="Sorry")
    return flow(create, {"name": "Sorry", "type": "message", "body": "Sorry"}, id="leads", **keys)


def set_answer(server: RecordingServer, answer: Answer) -> None:
    server._script = lambda _: answer


def test_refused_credentials_stop_the_batch_with_contacts_pending(leads: Leads, server: RecordingServer) -> None:
    leads.write(500, flow=flow_with_error_exit(replay={"max_failures": 10}))
    set_answer(server, Answer.json({"error": "token expired"}, 401))

    done = leads.run("--replay-id", "first", "--format", "json")

    told = json.loads(done.out)
    assert done.status == 4
    assert (told["pending"], told["completed"], told["failed"], told["handled"]) == (500, 0, 0, 0)
    assert len(server.received) == 20
    assert told["stopped"].startswith(
        f"{server.host} rejected the credentials of the connection 'crm' 20 times in a row "
        '(401 Unauthorized; reply: {"error":"token expired"})'
    )

    set_answer(server, Answer.json({"id": 1}))
    assert leads.run("--replay-id", "first").status == 0
    assert leads.status("first")["completed"] == 500
    assert len(server.received) == 520
    assert leads.status("first")["handled"] == 0


def test_expired_credentials_leave_refused_contacts_pending(leads: Leads, server: RecordingServer) -> None:
    leads.write(300, flow=flow_with_error_exit())
    expired = Answer.json({}, 403)
    server._script = lambda _: Answer.json({"id": 1}) if len(server.received) <= 100 else expired

    done = leads.run("--replay-id", "first", "--format", "json")

    told = json.loads(done.out)
    assert (done.status, told["completed"], told["pending"], told["handled"]) == (4, 100, 200, 0)
    assert len(server.received) <= 100 + 20 + 2 * 64, "answers under way when the first was refused end the row, too"

    set_answer(server, Answer.json({"id": 1}))
    assert leads.run("--replay-id", "first").status == 0
    phones = {json.loads(one.content)["phone"] for one in server.received}
    assert len(phones) == 300


def test_refused_credentials_do_not_reset_contacts_with_handled_errors(leads: Leads, server: RecordingServer) -> None:
    create = action("Create", url="/v1/contacts", body={"phone": "{{ contact.phone }}"}, on_error="Other CRM")
    other = action("Other CRM", url="/v1/others", body={"phone": "{{ contact.phone }}"}, connection="other")
    words = ("--replay-id", "first", "--connection", f"other={server.url}")
    leads.write(60, flow=flow(create, other, id="leads"))

    def script(received: Received) -> Answer:
        return Answer(401) if received.target.endswith("contacts") else Answer.json({"id": 1})

    server._script = script

    done = leads.run(*words, "--concurrency", "1", "--format", "json")
    told = json.loads(done.out)
    served = [json.loads(one.content)["phone"] for one in server.received if one.target.endswith("others")]
    assert (done.status, told["handled"], told["pending"]) == (4, len(served), 60 - len(served))

    set_answer(server, Answer.json({"id": 1}))
    assert leads.run(*words).status == 0
    sent = [one for one in server.received[20 + len(served) :] if one.target.endswith("contacts")]
    phones = [json.loads(one.content)["phone"] for one in sent]
    assert sorted([*served, *phones]) == sorted({*served, *phones}), "somebody is in both CRMs"
    assert len(served) + len(phones) == 60


def test_refused_credentials_fail_no_contact_without_an_error_exit(leads: Leads, server: RecordingServer) -> None:
    leads.write(40)
    set_answer(server, Answer(401))

    done = leads.run("--replay-id", "first", "--format", "json")

    assert (done.status, json.loads(done.out)["pending"]) == (4, 40)


def test_a_batch_with_only_handled_errors_is_not_a_success(leads: Leads, server: RecordingServer) -> None:
    leads.write(10, flow=flow_with_error_exit())
    set_answer(server, Answer.json({"error": "no such list"}, 422))

    done = leads.run("--replay-id", "first")

    assert done.status == 3
    assert "not a success: every one of 10 contacts that completed took an error exit" in done.out
    assert "10 errors handled by error exits (10 contacts)" in done.out
    assert re.search(r"replay retry --handled --ledger \S+ first\n", done.out)
    assert leads.status("first")["handled"] == 10
    assert leads.run("--replay-id", "first").status == 3  # and it stays so

    set_answer(server, Answer.json({"id": 1}))
    assert leads.replay("retry", "first", "--handled", *leads.send_options[:4]).status == 0
    assert leads.status("first")["handled"] == 0
    assert len(server.received) == 20


def test_by_default_one_success_makes_the_batch_a_success(leads: Leads, server: RecordingServer) -> None:
    leads.write(10, flow=flow_with_error_exit())
    set_answer(server, Answer(422))
    server.queued.append(Answer.json({"id": 1}))

    assert leads.run("--replay-id", "first").status == 0


@pytest.mark.parametrize("given", ["flow", "option"])
def test_exceeding_max_handled_errors_stops_the_batch(leads: Leads, server: RecordingServer, given: str) -> None:
    replay = {"max_handled_errors": "10%"} if given == "flow" else {}
    words = ["--max-handled-errors", "10%"] if given == "option" else []
    leads.write(200, flow=flow_with_error_exit(replay=replay))

    def script(received: Received) -> Answer:
        return Answer(404) if int(json.loads(received.content)["phone"][-4:]) % 2 else Answer.json({"id": 1})

    server._script = script

    done = leads.run("--replay-id", "first", "--concurrency", "1", "--format", "json", *words)

    told = json.loads(done.out)
    assert done.status == 4
    assert told["handled"] == 21
    assert "21 contacts took an error exit, and max_handled_errors allows 10%, 20 contacts" in told["stopped"]
    assert told["pending"] > 150


@pytest.mark.parametrize(("limit", "status"), [("100%", 0), ("10", 0), ("9", 3), ("20%", 3)])
def test_the_limit_applies_at_the_end(leads: Leads, server: RecordingServer, limit: str, status: int) -> None:
    leads.write(10, flow=flow_with_error_exit())
    set_answer(server, Answer(404))
    leads.run("--replay-id", "first", "--no-stop-when-refused", "--max-handled-errors", "100%")

    assert leads.run("--replay-id", "first", "--max-handled-errors", limit).status == status


def test_lookups_without_a_match_do_not_stop_the_batch(leads: Leads, server: RecordingServer) -> None:
    look_up = action("Find", method="GET", url="/v1/contacts", query_params={"q": "{{ contact.phone }}"}, on_error="Go")
    made = flow(look_up, {"name": "Go", "type": "message", "body": "x"}, replay={"max_handled_errors": "100%"})
    leads.write(120, flow={**made, "id": "leads"})
    set_answer(server, Answer(404))

    assert leads.run("--replay-id", "first").status == 0
    assert len(server.received) == 120


def test_an_always_refused_step_stops_the_batch_unless_disabled(leads: Leads, server: RecordingServer) -> None:
    leads.write(200)
    set_answer(server, Answer.json({"error": "no such field"}, 400))

    done = leads.run("--replay-id", "first", "--concurrency", "1", "--format", "json")

    told = json.loads(done.out)
    assert (done.status, told["failed"], told["pending"], len(server.received)) == (4, 50, 150, 50)
    assert "rejected each of the first 50 requests of 'Create contact'" in told["stopped"]
    assert "If 400 is this server's answer for a single contact" in told["stopped"]
    assert 'resume with --no-stop-when-refused, or set "stop_when_refused": false' in told["stopped"]
    assert 'reply: {"error":"no such field"}' in told["stopped"]

    assert leads.run("--replay-id", "first", "--no-stop-when-refused").status == 3
    assert leads.status("first")["failed"] == 200
    assert len(server.received) == 200


def test_retries_of_refusals_continue_if_the_step_succeeded_before(leads: Leads, server: RecordingServer) -> None:
    leads.write(400)

    def script(received: Received) -> Answer:
        return Answer(422) if int(json.loads(received.content)["phone"][-4:]) % 2 else Answer.json({"id": 1})

    server._script = script
    assert leads.run("--replay-id", "first", "--concurrency", "4").status == 3

    assert leads.replay("retry", "first", *leads.send_options[:4], "--concurrency", "4").status == 3
    assert leads.status("first")["failed"] == 200
    assert len(server.received) == 600
