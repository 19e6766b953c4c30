"""A replay recognizes people by each of their identifiers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.replaying import LEADS, Leads, json_lines, lead
from tests.servers.recording import Answer, RecordingServer

CHAIN = [
    {"phone": "+525512345678"},
    {"email": "ana@example.com"},
    {"id": "77", "email": "ANA@example.com "},
    {"phone": "+52 1 55 1234 5678", "id": 77},
]


def flow(**replay: Any) -> dict[str, Any]:
    steps = json.loads(
        json.dumps(LEADS["steps"]).replace('"{{ contact.phone }}"', '"{{ contact.phone | default(none) }}"')
    )
    return {**LEADS, "steps": steps, "identifiers": ["contact.meta.crm_id"], "replay": replay}


@pytest.mark.parametrize(
    "contacts",
    [
        pytest.param([{"id": "77"}] * 20, id="id"),
        pytest.param([{"user_id": "BR.1502"}] * 20, id="user_id"),
        pytest.param([{"email": "ana@example.com"}, {"email": "Ana@Example.com"}] * 10, id="email"),
        pytest.param([{"meta": {"crm_id": "C-1"}}] * 20, id="listed"),
        pytest.param([{"phone": "+525512345678"}, {"phone": "whatsapp:+5215512345678"}] * 10, id="phone"),
        pytest.param([*CHAIN[::-1], *CHAIN * 4], id="joined"),
    ],
)
def test_responses_of_one_person_are_sent_in_sequence(
    leads: Leads, server: RecordingServer, contacts: list[dict[str, Any]]
) -> None:
    def slow(_: object) -> Answer:
        server.overlapped.wait(0.01)
        return Answer()

    server._script = slow
    leads.write(0, json_lines([lead(n, contact=one, step={"Ask name": f"{n}"}) for n, one in enumerate(contacts)]),
                flow=flow())  # fmt: skip

    assert leads.run("--replay-id", "first").status == 0

    assert not server.overlapped.is_set()
    assert [json.loads(request.content)["name"] for request in server.received] == [
        f"{n}" for n in range(len(contacts))
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"user_id": "BR.1502"}, {"user_id": "BR.1502", "phone": "+525512345678"}),
        ({"email": "ana@example.com"}, {"email": "ANA@example.com"}),
        ({"id": "77", "phone": "+525512345678"}, {"id": "77", "phone": "+525587654321"}),
        ({"meta": {"crm_id": "C-1"}}, {"meta": {"crm_id": "C-1"}}),
        ({"phone": "+525512345678"}, {"phone": None, "canonical_phone": "+5215512345678"}),
        ({"phone": "+525512345678"}, {"phone": "tel:+52-55-1234-5678;ext=7"}),
    ],
)
def test_only_once_matches_any_identifier(
    leads: Leads, server: RecordingServer, first: dict[str, Any], second: dict[str, Any]
) -> None:
    leads.write(0, json_lines([lead(1, contact=first)]), flow=flow(only_once=True))
    assert leads.run("--replay-id", "one").status == 0
    leads.write(0, json_lines([lead(2, contact=second), lead(3)]), flow=flow(only_once=True))
    assert leads.run("--replay-id", "two").status == 0

    assert len(server.received) == 2
    assert leads.status("two")["skipped"] == 1


@pytest.mark.parametrize("who", [{"phone": "+525512345678"}, {"phone": "+525512345678", "email": "ana@example.com"}])
@pytest.mark.parametrize("where", ["another flow", "a row that was rejected"])
def test_only_once_ignores_a_person_who_only_has_the_id_of_another_response(
    leads: Leads, server: RecordingServer, where: str, who: dict[str, Any]
) -> None:
    once, ana, leo = flow(only_once=True), lead(1, contact=who), lead(1)
    leads.write(0, json_lines([ana if where == "another flow" else leo]), flow={**once, "id": "orders"})
    leads.run("--replay-id", "orders")
    rows = [leo] if where == "another flow" else [leo, ana]
    leads.write(0, json_lines(rows), flow=once)
    leads.run("--replay-id", "first")
    sent = len(server.received)
    leads.write(0, json_lines([lead(2, contact=who)]), flow=once)

    assert leads.run("--replay-id", "second").status == 0

    assert leads.results("second")[0]["state"] == "completed"
    assert len(server.received) == sent + 1


def test_skips_unidentified_contacts_only_if_a_guard_is_set(leads: Leads, server: RecordingServer) -> None:
    nobody = [lead(1, contact={"first_name": "Ana"}), lead(2, contact={"phone": "5512345678"})]
    leads.write(0, json_lines([*nobody, lead(3)]), flow=flow(opt_out=["+525500000000"]))

    assert leads.run("--replay-id", "guarded").status == 0

    assert (leads.status("guarded")["skipped"], len(server.received)) == (2, 1)
    reasons = [json.loads(line)["reason"] for line in leads.replay("results", "guarded").out.splitlines()]
    assert reasons[0] == "unidentified: opt_out lists phones, but the contact has none"
    assert reasons[1].startswith("unidentified: opt_out lists phones, and contact.phone cannot be")

    leads.write(0, json_lines(nobody), flow=flow())
    assert leads.run("--replay-id", "free", "--accept-changed-flow").status == 0
    assert len(server.received) == 3


def test_a_list_of_phones_is_a_rejected_row(leads: Leads, server: RecordingServer) -> None:
    leads.write(0, json_lines([lead(1, contact={"phone": ["+525512345678"]})]), flow=flow(opt_out=["+525512345678"]))

    leads.run("--replay-id", "first")

    assert (leads.status("first")["rejected"], server.received) == (1, [])
