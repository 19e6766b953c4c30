"""Unusual sources and options are reported or refused before anything is sent."""

from __future__ import annotations

import json

import pytest

from tests.cli.replaying import LEADS, Leads, json_lines, lead
from tests.servers.recording import Answer, RecordingServer


def test_plan_run_and_status_report_source_warnings(leads: Leads) -> None:
    leads.write(1)
    path = leads.folder / "leads.csv"
    path.write_text("id,contact.phone,step.Ask name,Notas\nf-1,+525512345678,Ana,x\n", encoding="utf-8")
    plan = ["replay", "plan", leads.flow, "--responses", path, *leads.send_options]
    run = ["replay", "run", leads.flow, "--responses", path, *leads.send_options, "--replay-id", "first"]
    warning = "warning: not read, because they are not keys of a contact response: the columns 'Notas'"

    planned, told = leads.cli(*plan), json.loads(leads.cli(*plan, "--format", "json").out)
    done, again = leads.cli(*run), leads.cli(*run)

    assert (planned.status, done.status) == (0, 0)
    for text in (planned.out, done.out, again.out, leads.replay("status", "first").out):
        assert warning in text
    assert told["warnings"] == [warning.removeprefix("warning: ")]
    assert warning in leads.cli(*plan, "--replay-id", "first").out


def test_counts_unknown_step_names_and_sends_the_rows(leads: Leads, server: RecordingServer) -> None:
    result = {"outcome": "success", "status_code": 200}
    odd = lead(7, actions={"Send quote": [result]}, step={"Ask name": "Ana", "Ask nmae": "Ana"})
    leads.write(1, json_lines([odd]))

    done = leads.run()

    assert (done.status, len(server.received)) == (0, 2)
    assert "warning: 1 response names a step that the flow 'leads' does not have" in done.out
    assert "'Ask nmae' (1; did you mean 'Ask name'?)" in done.out


@pytest.mark.parametrize(("name", "text"), [("r.jsonl", ""), ("r.jsonl", "\n \n"), ("r.csv", "id,contact.phone\n")])
def test_a_source_without_responses_is_a_warning_not_an_error(leads: Leads, name: str, text: str) -> None:
    leads.write(0)
    path = leads.folder / name
    path.write_text(text, encoding="utf-8")

    for command in ("plan", "run"):
        done = leads.cli("replay", command, leads.flow, "--responses", path, *leads.send_options)

        assert done.status == 0
        assert "warning: 0 responses" in done.out


def test_a_flow_file_is_not_a_source_of_responses(leads: Leads, server: RecordingServer) -> None:
    leads.write(1)
    for text in (json.dumps(LEADS), json.dumps(LEADS, indent=2)):
        leads.responses.write_text(text, encoding="utf-8")

        done = leads.run()

        assert (done.status, server.received) == (1, [])
        assert done.err.endswith(
            f"{leads.responses}: is a flow file, not responses; a source must have one contact response per line\n"
        )


def test_refuses_a_rate_for_an_unused_host(leads: Leads, server: RecordingServer) -> None:
    leads.write(1)

    done = leads.run("--rate", "crm.exmaple=5")

    assert (done.status, server.received) == (1, [])
    assert f"--rate: the flow sends nothing to 'crm.exmaple'; its hosts are {server.host}" in done.err
    assert leads.run("--rate", f"{server.host.upper()}=50", "--rate", "127.0.0.1=50", "--rate", "99").status == 0


def test_refuses_an_unused_connection(leads: Leads, server: RecordingServer) -> None:
    leads.write(1)

    done = leads.run("--connection", "crn=https://me:s3cret@crm.example")

    assert (done.status, server.received) == (1, [])
    assert "--connection: the flow does not use the connection 'crn'; did you mean 'crm'?" in done.err
    assert "s3cret" not in done.err


def test_only_once_and_ordering_match_any_phone_spelling(leads: Leads, server: RecordingServer) -> None:
    spellings = ["+52 1 55 1234 5678", "+525512345678", "005255-1234-5678"]
    contacts = [lead(n, contact={"phone": spelt}) for n, spelt in enumerate(spellings)]
    once = {**LEADS, "replay": {"only_once": True}}
    leads.write(0, json_lines(contacts), flow=once)

    first = leads.run("--replay-id", "first")
    leads.write(0, json_lines([lead(9, contact={"phone": "+52 55 1234 5678"})]), flow=once)
    second = leads.run("--replay-id", "second")

    assert (first.status, second.status, len(server.received)) == (0, 0, 1)
    assert json.loads(server.received[0].content)["phone"] == spellings[0]
    assert (leads.status("first")["skipped"], leads.status("second")["skipped"]) == (2, 1)


def test_responses_are_sent_in_sequence_for_any_phone_spelling(leads: Leads, server: RecordingServer) -> None:
    def slow(_: object) -> Answer:
        server.overlapped.wait(0.01)
        return Answer()

    spellings = ["+52 1 55 1234 5678", "+525512345678", "005255-1234-5678"] * 8
    leads.write(0, json_lines([lead(n, contact={"phone": spelt}, step={"Ask name": f"{n}"})
                               for n, spelt in enumerate(spellings)]))  # fmt: skip
    server._script = slow
    assert leads.run().status == 0

    assert not server.overlapped.is_set()
    assert [json.loads(request.content)["name"] for request in server.received] == [f"{n}" for n in range(24)]
