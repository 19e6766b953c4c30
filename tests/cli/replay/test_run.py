"""``whatsapp-flows replay run``: what it sends, refuses, and prints, and its exit status."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import action, flow
from tests.cli.replaying import LEADS, Leads, json_lines, lead
from tests.servers.recording import Answer, RecordingServer

STATUS_KEYS = [
    "replay_id", "flow_id", "total", "pending", "completed", "failed", "rejected", "in_doubt", "skipped",
    "handled_errors", "unanswered", "requests", "elapsed_s", "handled",
]  # fmt: skip


def test_every_contact_is_sent_once_and_reported(leads: Leads, server: RecordingServer) -> None:
    leads.write(3)

    done = leads.run("--replay-id", "first")

    assert done.status == 0, done.err
    assert sorted(json.loads(request.content)["phone"] for request in server.received) == [
        lead(n)["contact"]["phone"] for n in range(3)
    ]
    assert "completed         3" in done.out
    assert "3 requests" in done.out
    assert f"ledger sqlite:///{leads.database}" in done.err


def test_rerunning_the_command_sends_nothing(leads: Leads, server: RecordingServer) -> None:
    leads.write(3)
    leads.run()

    done = leads.run()

    assert (done.status, len(server.received)) == (0, 3)
    assert "has already ended; nothing was sent" in done.err
    assert len(json.loads(leads.replay("list", "--format", "json").out)) == 1


def test_another_replay_of_the_same_responses_sends_nothing(leads: Leads, server: RecordingServer) -> None:
    leads.write(3)
    leads.run()

    done = leads.run("--replay-id", "second")

    assert (done.status, len(server.received)) == (0, 3)
    assert leads.status("second")["skipped"] == 3
    assert "skipped: 3 rows done" in done.out


def test_rerunning_the_command_does_not_resend_failed_contacts(leads: Leads, server: RecordingServer) -> None:
    leads.write(2)
    server.queued += [Answer(400), Answer(400)]
    assert leads.run().status == 3

    done = leads.run()

    assert (done.status, len(server.received)) == (3, 2)


def test_force_sends_again_under_new_keys(leads: Leads, server: RecordingServer) -> None:
    keyed = flow(
        action("Create contact", delivery="keyed", body_type="json", body={"p": "{{ contact.phone }}"}), id="leads"
    )
    leads.write(2, flow=keyed)
    leads.run()

    assert leads.run("--force").status == 0

    assert len(server.received) == 4
    assert len({request.header("Idempotency-Key") for request in server.received}) == 4
    assert len(json.loads(leads.replay("list", "--format", "json").out)) == 2


def test_a_replay_started_by_force_resumes_only_with_force(leads: Leads, server: RecordingServer) -> None:
    leads.write(1)
    leads.run("--force", "--replay-id", "again")

    done = leads.run("--replay-id", "again")

    assert done.status == 1
    assert "'again' was started with --force" in done.err


def test_a_limited_trial_is_a_separate_replay(leads: Leads, server: RecordingServer) -> None:
    leads.write(5)

    assert leads.run("--limit", 2, "--replay-id", "trial").status == 0
    assert len(server.received) == 2
    assert leads.run("--format", "json").status == 0

    assert len(server.received) == 5
    refused = leads.run("--replay-id", "trial")
    assert refused.status == 1
    assert "'trial' was started with another limit: 2 then, none now" in refused.err


def test_an_invalid_row_is_rejected_and_the_others_are_sent(leads: Leads, server: RecordingServer) -> None:
    leads.write(2, json_lines([{"contact": {"phone": "+525599"}}]), "{\n")

    done = leads.run("--replay-id", "first")

    assert (done.status, len(server.received)) == (3, 2)
    assert leads.status("first") | {"elapsed_s": 0} == dict(
        zip(STATUS_KEYS, ["first", "leads", 4, 0, 2, 0, 2, 0, 0, 0, 0, 2, 0, 0], strict=True)
    )
    assert "rejected: 1 row missing_id" in done.out
    assert f"{leads.responses}:3" in done.out


def test_json_has_status_stop_reason_and_errors(leads: Leads, server: RecordingServer) -> None:
    leads.write(2)
    server.queued += [Answer(422), Answer(422)]

    done = leads.run("--format", "json")

    told = json.loads(done.out)
    assert done.status == 3
    assert list(told) == [
        *STATUS_KEYS, "warnings", "stopped", "too_many_handled", "postponed", "postponed_until", "errors",
    ]  # fmt: skip
    assert told["failed"] == 2
    assert told["stopped"] is None


def test_error_groups_have_a_masked_sample_and_advice(leads: Leads, server: RecordingServer) -> None:
    leads.write(3)
    server.queued += [Answer(422), Answer(422)]

    done = leads.run("--replay-id", "the first")

    (group,) = json.loads(leads.run("--replay-id", "the first", "--format", "json").out)["errors"]
    assert (group["count"], group["in_doubt"]) == (2, 0)
    assert f"error {group['fingerprint']}: 2 contacts" in done.out
    assert group["suggestion"] in done.out
    assert group["sample"]["response"] == {
        "contact": {"phone": f"+52…0{group['sample']['id'][-1]}", "first_name": "A…"},
        "step": {"Ask name": "A…"},
    }
    assert "+525512340" not in done.out
    assert f"whatsapp-flows replay retry --ledger sqlite:///{leads.database} 'the first'" in done.out


def test_doubt_is_reported_with_the_command_that_resolves_it(leads: Leads, server: RecordingServer) -> None:
    leads.write(1)
    server.queued.append(Answer(drop=True))

    done = leads.run("--replay-id", "first")

    assert done.status == 3
    assert "in_doubt         1" in done.out
    assert "oldest: r-0" in done.out
    assert "whatsapp-flows replay resolve --as sent --ledger" in done.out
    assert "-- first RESPONSE, or --as not_sent" in done.out


def test_data_cannot_control_the_terminal(leads: Leads, server: RecordingServer) -> None:
    leads.write(0, json_lines([lead(1, id="r\u001b[2J-1")]))
    server.queued.append(Answer(422))

    assert "\x1b" not in leads.run().out


def test_rejects_a_missing_connection_before_reading_the_source(leads: Leads) -> None:
    leads.write(1)

    done = leads.cli("replay", "run", leads.flow, "--responses", leads.responses, *leads.ledger)

    assert done.status == 1
    assert "connection 'crm' is not known: set AIRFLOW_CONN_CRM" in done.err
    assert not leads.database.exists()


def test_shows_flow_faults_like_validate(leads: Leads) -> None:
    leads.write(1, flow={**LEADS, "stepz": []})
    shown = leads.cli("validate", leads.flow).out

    done = leads.run()

    assert done.status == 1
    assert done.err.splitlines()
    assert set(done.err.splitlines()) <= set(shown.splitlines())


def test_a_source_that_does_not_exist_is_refused(leads: Leads) -> None:
    leads.write(1)
    leads.responses.unlink()

    done = leads.run()

    assert done.status == 1
    assert done.err == f"{leads.responses}: the file does not exist\n"


@pytest.mark.parametrize("url", ["mysql://h/d", "nothing"])
def test_rejects_an_invalid_ledger_url(leads: Leads, url: str) -> None:
    leads.write(1)

    done = leads.run("--ledger", url)

    assert done.status == 1
    assert "a ledger must be an SQLAlchemy URL" in done.err


def test_refuses_a_ledger_that_cannot_be_created(leads: Leads) -> None:
    leads.write(1)

    done = leads.run("--ledger", "sqlite:////proc/none/ledger.db")

    assert done.status == 1
    assert "the folder /proc/none of the ledger cannot be created" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["--rate", "fast"],
        ["--rate", "=5"],
        ["--rate", "0"],
        ["--concurrency", "0"],
        ["--concurrency", "1025"],
        ["--limit", "-1"],
        ["--connection", "crm"],
        ["--column", "=x"],
        ["--send", "some"],
        ["--format", "xml"],
    ],
)
def test_invalid_option_values_are_usage_errors(leads: Leads, words: list[str]) -> None:
    leads.write(1)

    assert leads.run(*words).status == 2


def test_refuses_a_changed_flow_until_accepted(leads: Leads, server: RecordingServer) -> None:
    leads.write(1)
    leads.run("--replay-id", "first")
    leads.write(1, flow={**LEADS, "name": "Leads"})

    refused = leads.run("--replay-id", "first")
    accepted = leads.run("--replay-id", "first", "--accept-changed-flow")

    assert (refused.status, accepted.status, len(server.received)) == (1, 0, 1)
    assert "--accept-changed-flow" in refused.err


def test_columns_of_a_csv_are_named_by_options(leads: Leads, server: RecordingServer) -> None:
    leads.write(0)
    path = leads.folder / "leads.csv"
    path.write_text("Folio;Teléfono;step.Ask name\nf-1;+525512345678;Ana\n", encoding="utf-8")

    done = leads.cli(
        "replay", "run", leads.flow, "--responses", path, *leads.send_options,
        "--id", "Folio", "--column", "contact.phone=Teléfono",
    )  # fmt: skip

    assert done.status == 0, done.err
    assert json.loads(server.received[0].content) == {"name": "Ana", "phone": "+525512345678"}


def test_sends_but_does_not_store_command_line_credentials(leads: Leads, server: RecordingServer) -> None:
    leads.write(1)
    url = leads.url.replace("http://", "http://me:s3cret@") + "/api"

    assert leads.run("--connection", f"crm={url}").status == 0

    assert server.received[0].target == "/api/v1/x"
    assert (server.received[0].header("Authorization") or "").startswith("Basic ")
    assert not [file for file in leads.folder.glob("ledger.db*") if file.is_file() and b"s3cret" in file.read_bytes()]


def test_refuses_to_rerun_a_finished_replay_of_a_changed_file(leads: Leads, server: RecordingServer) -> None:
    leads.write(2)
    assert leads.run("--replay-id", "day").status == 0
    leads.write(3)

    again = leads.run("--replay-id", "day")

    assert (again.status, len(server.received)) == (1, 2)
    assert "was rewritten since the replay 'day' read it, and that replay has ended" in again.err
    other = leads.run("--replay-id", "next")
    assert (other.status, len(server.received)) == (0, 3)


def test_resumes_an_unfinished_replay_of_a_changed_file_with_a_warning(leads: Leads, server: RecordingServer) -> None:
    leads.write(2)
    leads.run("--replay-id", "day")
    leads.sql("UPDATE whatsapp_flows_contacts SET state = 'pending'")
    leads.sql("UPDATE whatsapp_flows_chunks SET requests = NULL")  # a run that was killed leaves no counts
    leads.write(3)

    again = leads.run("--replay-id", "day")

    assert again.status == 0
    assert "was rewritten since the replay 'day' read it: this run sends the rows that the replay has read" in again.err
    assert leads.status("day")["total"] == 2
