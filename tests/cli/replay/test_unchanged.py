"""With ``send_when: changed``, a contact that would send the same as the last time is not sent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from tests.cli.conftest import action, flow
from tests.cli.replaying import Leads, json_lines
from tests.servers.recording import Answer, RecordingServer

CHANGED = {"send_when": "changed", "on_changed": "update"}
SAVE = action("Save", body_type="json", body={"name": "{{ contact.first_name }}", "phone": "{{ contact.phone }}"})
BYE = {"name": "Bye", "type": "end"}
LEADS = flow(SAVE, id="leads", replay=CHANGED)


def person(number: int, name: str = "Ana", version: int = 1, **more: Any) -> dict[str, Any]:
    """A response; no request of the flows has its version."""
    contact = {"phone": f"+52551234{number:04}", "first_name": name, "version": version}
    return {"id": f"r-{number}", "contact": contact, **more}


class Sync:
    """Replays of one flow, one after the other."""

    def __init__(self, leads: Leads, server: RecordingServer, source: Any = LEADS) -> None:
        self.leads, self.server = leads, server
        self.count = 0
        self.flow = source

    def run(self, *rows: dict[str, Any], status: int = 0, options: Iterable[str] = ()) -> list[str]:
        """Replay some rows; return the states of their contacts, with the codes of reasons."""
        self.count += 1
        self.write(*rows)
        done = self.leads.run("--replay-id", f"run-{self.count}", *options)
        assert done.status == status, done
        self.out = done.out
        return [self.state(one) for one in self.leads.results(f"run-{self.count}")]

    def write(self, *rows: dict[str, Any]) -> None:
        self.leads.flow.write_text(json.dumps(self.flow), encoding="utf-8")
        self.leads.responses.write_text(json_lines(rows), encoding="utf-8")

    @staticmethod
    def state(found: dict[str, Any]) -> str:
        code = found["reason"].partition(":")[0] if found["state"] == "skipped" else ""
        return f"{found['state']} {code}".rstrip()

    @property
    def reasons(self) -> list[str]:
        return [one["reason"] for one in self.leads.results(f"run-{self.count}")]

    @property
    def names_sent(self) -> list[str]:
        """The name in each request, in order; else its target."""
        bodies = [(one.target, json.loads(one.content) if one.content else {}) for one in self.server.received]
        return [body.get("name", target) for target, body in bodies]


@pytest.fixture
def sync(leads: Leads, server: RecordingServer) -> Sync:
    return Sync(leads, server)


def test_a_row_whose_request_is_the_same_is_not_sent(sync: Sync) -> None:
    assert sync.run(person(1), person(2)) == ["completed", "completed"]
    sync.write(person(1, version=2), person(2, "Eva", version=2))
    plan = sync.leads.cli(
        "replay", "plan", sync.leads.flow, "--responses", sync.leads.responses, *sync.leads.send_options
    )

    assert sync.run(person(1, version=2), person(2, "Eva", version=2)) == ["skipped unchanged", "completed"]
    assert sync.names_sent == ["Ana", "Ana", "Eva"]
    assert sync.reasons[0].startswith("unchanged: the replay run-1 sent the same at 20")
    assert "unchanged" in sync.out
    assert "unchanged: the same requests were sent last, and succeeded" in plan.out
    # The same rows again are already done, and a later version is compared with the last one that was sent.
    assert sync.run(person(1, version=3), person(2, "Eva", version=2)) == ["skipped unchanged", "skipped done"]
    assert len(sync.names_sent) == 3


def test_by_default_a_changed_row_is_always_sent(sync: Sync) -> None:
    sync.flow = {**LEADS, "replay": {"on_changed": "update"}}
    sync.run(person(1))

    assert sync.run(person(1, version=2)) == ["completed"]
    assert sync.names_sent == ["Ana", "Ana"]


def test_content_that_changes_back_is_sent(sync: Sync) -> None:
    for version, name in enumerate(("Ana", "Eva", "Ana", "Ana", "Eva")):
        sync.run(person(1, name, version))

    assert sync.names_sent == ["Ana", "Eva", "Ana", "Eva"]


@pytest.mark.parametrize("delivery", ["at_most_once", "keyed", "idempotent"])
def test_the_key_of_a_request_is_not_compared(sync: Sync, delivery: str) -> None:
    sync.flow = flow({**SAVE, "delivery": delivery}, id="leads", replay=CHANGED)
    sync.run(person(1))

    assert sync.run(person(1, version=2)) == ["skipped unchanged"]
    assert sync.run(person(1, "Eva", version=3)) == ["completed"]
    assert sync.names_sent == ["Ana", "Eva"]


def test_a_refused_change_leaves_the_server_as_it_was(sync: Sync) -> None:
    sync.run(person(1))
    sync.server.queued.append(Answer(422))
    assert sync.run(person(1, "Eva", 2), status=3) == ["failed"]

    assert sync.run(person(1, "Ana", 3)) == ["skipped unchanged"]
    # The refused content is older than what the server has.
    assert sync.leads.cli("replay", "retry", "run-2", *sync.leads.send_options).status == 0
    assert sync.names_sent == ["Ana", "Eva"]
    assert sync.leads.results("run-2")[0]["reason"].startswith("superseded: the replay run-3 has newer content")


def test_a_change_that_may_have_been_applied_is_overwritten(sync: Sync) -> None:
    sync.flow = flow({**SAVE, "on_error": "Bye"}, BYE, id="leads", replay=CHANGED)
    sync.run(person(1))
    sync.server.queued.append(Answer(500))
    sync.run(person(1, "Eva", 2), status=3)

    assert sync.run(person(1, "Ana", 3)) == ["completed"]
    assert sync.names_sent == ["Ana", "Eva", "Ana"]


def test_nothing_is_compared_beside_a_request_in_doubt(sync: Sync) -> None:
    sync.run(person(1))
    sync.server.queued.append(Answer(drop=True))
    assert sync.run(person(1, "Eva", 2), status=3) == ["in_doubt"]

    assert sync.run(person(1, "Ana", 3), status=3) == ["in_doubt"]
    assert sync.names_sent == ["Ana", "Eva"]


def test_other_responses_of_the_same_person_count(sync: Sync) -> None:
    def row(id_: str, name: str, number: int = 1) -> dict[str, Any]:
        return {**person(number, name), "id": id_}

    sync.run(row("a", "Ana"))
    assert sync.run(row("b", "Ana")) == ["skipped unchanged"]
    assert sync.reasons[0].endswith(", for the response a")
    # Within one source too, in its order.
    states = sync.run(row("c", "Ana"), row("d", "Eva"), row("e", "Eva"), row("f", "Ana"), row("g", "Leo", 2))

    assert states == ["skipped unchanged", "completed", "skipped unchanged", "completed", "completed"]
    assert [name for name in sync.names_sent if name != "Leo"] == ["Ana", "Eva", "Ana"]


@pytest.mark.parametrize("where", ["another flow", "a row that was rejected"])
def test_who_only_has_the_id_of_another_response_is_another_person(sync: Sync, where: str) -> None:
    ana, eva = {**person(1), "id": "r-17"}, person(17, "Eva")
    if where == "another flow":
        sync.flow = {**LEADS, "id": "orders"}
        sync.run(ana)
        sync.flow = LEADS
    sync.run(person(1), *([eva] if where == "another flow" else [eva, ana]), status=0 if where == "another flow" else 3)

    assert sync.run(person(1, version=2)) == ["skipped unchanged"]


REMOVE = action("Remove", url="/v1/removed", body={"phone": "{{ contact.phone }}"})
IS_DELETED = [{"field": "contact.deleted", "comparison": "exact", "value": "yes"}]


@pytest.mark.parametrize("first", ["Save", "Choose"])
def test_what_was_removed_is_sent_again(sync: Sync, first: str) -> None:
    """Whether a removal is sent instead of the contact, or after it, its last step is not all that counts."""
    choose = {
        "name": "Choose", "type": "conditional",
        "paths": [{"name": "deleted", "conditions": IS_DELETED, "next": "Remove"}],
        "otherwise": "Save" if first == "Choose" else "Bye",
    }  # fmt: skip
    save = {**SAVE, "on_success": "Choose" if first == "Save" else "Bye"}
    sync.flow = flow(save, choose, REMOVE, BYE, id="leads", replay=CHANGED)
    sync.flow["start"] = first

    def row(version: int, deleted: str) -> dict[str, Any]:
        one = person(1, "Ana", version)
        return {**one, "contact": {**one["contact"], "deleted": deleted}}

    sync.run(row(1, "no"))
    sync.run(row(2, "yes"))
    assert sync.run(row(3, "yes")) == ["skipped unchanged"]
    assert sync.run(row(4, "no")) == ["completed"]
    assert sync.run(row(5, "no")) == ["skipped unchanged"]
    assert sync.names_sent == ["Ana", *(["Ana"] if first == "Save" else []), "/v1/removed", "Ana"]


LOGIN = action("Log in", url="/login", body={"user": "sync"}, on_success="Save")


def test_a_walk_of_several_requests_is_compared_as_a_whole(sync: Sync) -> None:
    token = {"headers": {"X-Token": "{{ step.Log in.response.token }}"}}
    note = action("Note", url="/v1/notes", body={"version": "{{ contact.note }}"})
    sync.flow = flow(LOGIN, {**SAVE, **token, "on_success": "Note"}, note, id="leads", replay=CHANGED)
    tokens = iter("abcdef")

    def row(version: int, note_text: str) -> dict[str, Any]:
        one = person(1, "Ana", version)
        return {**one, "contact": {**one["contact"], "note": note_text}}

    def run(version: int, note_text: str) -> list[str]:
        sync.server.queued.append(Answer.json({"token": next(tokens)}))
        states = sync.run(row(version, note_text))
        sync.server.queued.clear()
        return states

    run(1, "first")
    assert run(2, "first") == ["skipped unchanged"]
    assert len(sync.names_sent) == 3
    assert run(3, "second") == ["completed"]  # only the last one differs: the others come before it
    assert sync.names_sent[3:] == ["/login", "Ana", "/v1/notes"]
    assert run(4, "second") == ["skipped unchanged"]


def test_requests_that_change_nothing_are_answered_from_the_last_walk(sync: Sync) -> None:
    find = action("Find", method="GET", url="/v1/leads", body=None, on_success="Save", on_error="Save")
    find.pop("body")
    sync.flow = flow(find, SAVE, id="leads", replay=CHANGED)
    sync.server.queued.append(Answer(404))
    assert sync.run(person(1), options=["--max-handled-errors", "100%"]) == ["completed"]

    assert sync.run(person(1, version=2)) == ["skipped unchanged"]
    assert len(sync.names_sent) == 2


def test_what_depends_on_a_lookup_is_sent(sync: Sync) -> None:
    find = action("Find", method="GET", url="/v1/owner", on_success="Save")
    save = {**SAVE, "body": {"name": "{{ step.Find.response.owner }}"}}
    sync.flow = flow(find, save, id="leads", replay=CHANGED)
    for version, owner in enumerate(("Leo", "Eva")):
        sync.server.queued.append(Answer.json({"owner": owner}))
        assert sync.run(person(1, version=version)) == ["completed"]

    assert sync.names_sent == ["/v1/owner", "Leo", "/v1/owner", "Eva"]


def test_a_walk_that_was_refused_in_part_is_sent_again(sync: Sync) -> None:
    note = action("Note", url="/v1/notes", body={"x": 1})
    sync.flow = flow({**SAVE, "on_success": "Note", "on_error": "Note"}, note, id="leads", replay=CHANGED)
    sync.server.queued.append(Answer(422))
    sync.run(person(1), options=["--max-handled-errors", "100%"])

    assert sync.run(person(1, version=2)) == ["completed"]
    assert sync.names_sent == ["Ana", "/v1/notes", "Ana", "/v1/notes"]


def test_a_changed_flow_is_sent(sync: Sync) -> None:
    sync.run(person(1))
    sync.flow = flow({**SAVE, "url": "/v2/leads"}, id="leads", replay=CHANGED)

    assert sync.run(person(1, version=2)) == ["completed"]
    sync.flow = flow({**SAVE, "url": "/v2/leads", "id": "Save", "name": "Store"}, id="leads", replay=CHANGED)
    assert sync.run(person(1, version=3)) == ["skipped unchanged"]


def test_a_flow_that_begins_to_read_a_reply_is_sent(sync: Sync) -> None:
    """The ledger has not stored what nothing read, and the note would be the same without it."""
    note = action("Note", url="/v1/notes", body={"name": "{{ step.Save.response.id | default('new') }}"})
    save = {**SAVE, "on_success": "Note"}
    sync.flow = flow(save, {**note, "body": {"name": "new"}}, id="leads", replay=CHANGED)
    sync.server.queued.append(Answer.json({"id": "L-7"}))
    sync.run(person(1))
    sync.flow = flow(save, note, id="leads", replay=CHANGED)
    sync.server.queued += [Answer.json({"id": "L-7"}), Answer(200)]

    assert sync.run(person(1, version=2)) == ["completed"]
    assert sync.names_sent == ["Ana", "new", "Ana", "L-7"]
    assert sync.run(person(1, version=3)) == ["skipped unchanged"]


def test_force_sends_everything(sync: Sync) -> None:
    sync.run(person(1))

    assert sync.run(person(1, version=2), options=["--force"]) == ["completed"]
    assert sync.run(person(1, version=3)) == ["skipped unchanged"]
    assert sync.names_sent == ["Ana", "Ana"]


def test_nothing_is_compared_with_what_was_erased(sync: Sync) -> None:
    sync.run(person(1))
    assert sync.leads.replay("list").status == 0
    assert sync.leads.cli("ledger", "purge", "--phone", "+525512340001", "--yes", *sync.leads.ledger).status == 0

    assert sync.run(person(1, version=2)) == ["completed"]


def test_what_a_person_found_at_the_server_counts(sync: Sync) -> None:
    sync.server.queued.append(Answer(drop=True))
    sync.run(person(1), status=3)
    sync.leads.replay("resolve", "run-1", "r-1", "--as", "sent")
    assert sync.leads.cli("replay", "retry", "run-1", *sync.leads.send_options).status == 0

    assert sync.run(person(1, version=2)) == ["skipped unchanged"]


def test_a_contact_whose_walk_has_begun_goes_on(sync: Sync) -> None:
    note = action("Note", url="/v1/notes", body={"x": "{{ contact.note }}"})
    sync.flow = flow({**SAVE, "on_success": "Note"}, note, id="leads", replay=CHANGED)

    def row(version: int, text: str) -> dict[str, Any]:
        one = person(1, "Ana", version)
        return {**one, "contact": {**one["contact"], "note": text}}

    sync.run(row(1, "a"))
    sync.server.queued += [Answer(200), Answer(422)]
    assert sync.run(row(2, "b"), status=3) == ["failed"]

    assert sync.leads.cli("replay", "retry", "run-2", *sync.leads.send_options).status == 0
    assert sync.names_sent == ["Ana", "/v1/notes", "Ana", "/v1/notes", "/v1/notes"]
    assert sync.run(row(3, "b")) == ["skipped unchanged"]
