"""The checker accepts a correct history, and finds each kind of violation."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from tests.replay.checker import Action, Attempt, Contact, History, violations
from tests.servers.crm_log import Logged

STEPS = {"/create": "Create", "/pay": "Pay", "/look": "Look"}
DELIVERY = {"Create": "at_most_once", "Pay": "keyed", "Look": "idempotent"}
PATHS = {step: path for path, step in STEPS.items()}
MILLISECOND = 1_000_000


class Story:
    """Builds a history step by step, one request every millisecond."""

    def __init__(self) -> None:
        self.contacts: list[Contact] = []
        self.attempts: list[Attempt] = []
        self.log: list[Logged] = []

    def contact(self, identity: str, state: str = "completed", *actions: Action) -> None:
        self.contacts.append(
            {"id": identity, "phone": f"+{identity}", "state": state, "handled_errors": 0, "actions": list(actions)}
        )

    def attempt(self, identity: str, step: str, fate: str | None, **changes: Any) -> None:
        row: Attempt = {
            "key": f"{identity}-{step}",
            "number": len(self.attempts) + 1,
            "response_id": identity,
            "step": step,
            "visit": 1,
            "digest": f"{identity}{step}",
            "fate": fate,
            "begun_at": float(len(self.attempts)),
        }
        self.attempts.append({**row, **changes})  # type: ignore[typeddict-item]

    def request(self, identity: str, step: str, status: int = 201, applied: bool = True, **changes: Any) -> None:
        entry = Logged(
            t=len(self.log) * MILLISECOND,
            n=len(self.log) + 1,
            method="POST",
            path=PATHS[step],
            key=f"{identity}-{step}" if DELIVERY[step] == "keyed" else None,
            contact=f"+{identity}",
            body_hash=sha256(f"{identity}{step}".encode()).hexdigest(),
            status=status,
            applied=applied,
            reply="sent",
        )
        self.log.append(replace(entry, **changes))

    def exchange(self, identity: str, step: str, fate: str | None, status: int = 201, applied: bool = True) -> None:
        """An attempt and its request; an unknown fate means that the reply was dropped."""
        self.attempt(identity, step, fate)
        self.request(identity, step, status, applied, reply="dropped" if fate is None else "sent")

    def violations(self, **changes: Any) -> list[str]:
        parts: dict[str, Any] = {"contacts": self.contacts, "attempts": self.attempts, "log": self.log}
        parts |= {"steps": STEPS, "delivery": DELIVERY, "total": len(self.contacts), "safe": frozenset({"Look"})}
        return violations(History(**{**parts, **changes}))


@pytest.fixture
def story() -> Story:
    """One contact of every correct kind."""
    told = Story()
    told.contact("1", "completed", action("1", "Create", "succeeded", 201))
    told.exchange("1", "Create", "answered", 429, False)
    told.exchange("1", "Create", "succeeded")
    told.exchange("1", "Pay", "unknown", 500)
    told.attempt("1", "Pay", "not_sent")
    told.attempt("1", "Pay", "succeeded")
    told.request("1", "Pay", applied=False, deduped=True)
    told.contact("2", "in_doubt")
    told.exchange("2", "Create", None)
    told.contact("3", "failed")
    told.exchange("3", "Create", "succeeded")
    told.exchange("3", "Pay", "answered", 404, False)
    told.contact("4", "completed")
    told.exchange("4", "Create", "answered", 500)
    told.exchange("4", "Look", "unknown", 503)
    told.contact("5", "skipped")
    told.contact("6", "rejected")
    told.contact("1", "rejected")
    told.contact("7", "completed")
    told.attempt("7", "Pay", "unknown")
    told.exchange("7", "Pay", "applied")
    told.contact("8", "in_doubt")
    told.attempt("8", "Create", "unknown")
    return told


def action(identity: str, step: str, fate: str, status: int | None, attempts: int = 1) -> Action:
    return {
        "step": step,
        "visit": 1,
        "attempts": attempts,
        "status_code": status,
        "outcome": "success",
        "idempotency_key": f"{identity}-{step}",
        "fate": fate,
    }


def test_accepts_a_correct_history(story: Story) -> None:
    assert story.violations(rate=1000, kills=1, concurrency=1) == []


def test_finds_a_lost_row(story: Story) -> None:
    assert story.violations(total=10) == ["(a) the input has 10 rows, the ledger 9 contacts"]


@pytest.mark.parametrize("state", ["pending", "sending"])
def test_finds_a_contact_that_did_not_end(story: Story, state: str) -> None:
    story.contact("9", state)
    assert story.violations() == [f"(a) contact 9 ended as '{state}'"]


def test_a_contact_may_be_pending_while_a_replay_is_stopped(story: Story) -> None:
    story.contact("9", "pending")
    story.exchange("9", "Create", None)
    story.attempt("9", "Pay", "unknown")
    assert story.violations(finished=False) == []


def test_finds_a_contact_in_two_states(story: Story) -> None:
    story.contact("5", "completed")
    assert story.violations() == ["(a) contact 5 is in 2 states"]


def test_finds_a_success_that_the_server_never_saw(story: Story) -> None:
    story.contact("9")
    story.attempt("9", "Create", "succeeded")
    assert story.violations() == ["(b) Create +9: 1 attempts succeeded, 0 at the server"]


@pytest.mark.parametrize(
    "changes", [{"applied": False}, {"status": 500}, {"reply": "dropped"}], ids=["not applied", "500", "no reply"]
)
def test_finds_a_success_without_an_applied_2xx(story: Story, changes: dict[str, Any]) -> None:
    story.contact("9")
    story.attempt("9", "Create", "succeeded")
    story.request("9", "Create", **changes)
    assert story.violations() == ["(b) Create +9: 1 attempts succeeded, 0 at the server"]


def test_finds_a_success_without_an_attempt(story: Story) -> None:
    story.contact("9", "completed", action("9", "Create", "succeeded", 201))
    assert story.violations() == ["(b) contact 9, step 'Create', visit 1 succeeded without an attempt in the ledger"]


def test_a_result_recorded_by_the_platform_needs_no_attempt(story: Story) -> None:
    story.contact("9", "completed", action("9", "Create", "succeeded", 201, attempts=0))
    assert story.violations() == []


def test_finds_applied_requests_reported_as_not_sent(story: Story) -> None:
    story.contact("9", "failed")
    story.exchange("9", "Create", "not_sent")
    assert "(c) Create +9 was applied, but its contact is failed, its attempts ['not_sent']" in story.violations()


def test_another_requests_doubt_does_not_excuse_a_false_not_sent(story: Story) -> None:
    story.attempt("2", "Pay", "not_sent")
    story.request("2", "Pay")
    assert "(c) key 2-Pay was applied, but its contact is in_doubt, its attempts ['not_sent']" in story.violations()


def test_finds_applied_requests_reported_as_rejected(story: Story) -> None:
    story.contact("9", "rejected")
    story.exchange("9", "Create", "answered")
    assert story.violations() == ["(c) Create +9 was applied, but its contact is rejected, its attempts ['answered']"]


def test_finds_applied_requests_without_a_contact(story: Story) -> None:
    story.request("9", "Create")
    assert story.violations() == [
        "(c) Create +9 was applied, but its contact is unknown to the ledger, its attempts []",
        "(f) Create +9: 1 requests at the server, 0 sent by the ledger",
    ]


def test_finds_requests_to_no_step_of_the_flow(story: Story) -> None:
    story.request("9", "Create", path="/elsewhere")
    assert "(f) unknown path /elsewhere: 1 requests at the server, 0 sent by the ledger" in story.violations()


@pytest.mark.parametrize("state", ["completed", "failed", "skipped"])
def test_finds_an_unknown_request_whose_contact_is_not_in_doubt(story: Story, state: str) -> None:
    story.contact("9", state)
    story.exchange("9", "Create", "unknown", 500, False)
    assert story.violations() == [
        f"(c) contact 9, step 'Create', visit 1: its fate is unknown, yet the contact is {state}",
    ]


def test_a_rejected_2xx_settles_an_unknown_request(story: Story) -> None:
    story.contact("9", "failed", action("9", "Pay", "answered", 200, attempts=2))
    story.exchange("9", "Pay", "unknown", 500)
    story.attempt("9", "Pay", "answered")
    story.request("9", "Pay", 200, applied=False, deduped=True)
    assert story.violations() == []


@pytest.mark.parametrize(
    ("status", "reply"), [(500, "sent"), (201, "sent"), (429, "dropped")], ids=["500", "201", "429 lost"]
)
def test_finds_a_forbidden_second_send(story: Story, status: int, reply: str) -> None:
    story.contact("9", "in_doubt")
    story.attempt("9", "Create", "unknown")
    story.request("9", "Create", status, applied=False, reply=reply)
    story.exchange("9", "Create", "succeeded")
    assert story.violations() == [f"(d) Create +9 was sent 2 times in 1 visits: {status} {reply}, 201 sent"]


def test_a_status_that_the_flow_declares_may_be_sent_again(story: Story) -> None:
    story.contact("9")
    story.exchange("9", "Create", "answered", 503, False)
    story.exchange("9", "Create", "succeeded")
    assert story.violations(declared={"Create": frozenset({429, 503})}) == []
    assert len(story.violations()) == 1


def test_each_visit_of_a_loop_may_send_once(story: Story) -> None:
    story.contact("9")
    for visit in (1, 2):
        story.attempt("9", "Create", "succeeded", visit=visit, key=f"9-Create-{visit}")
        story.request("9", "Create")
    assert story.violations() == []


@pytest.mark.parametrize("fate", ["unknown", "succeeded"])
def test_finds_a_second_key_of_a_visit(story: Story, fate: str) -> None:
    story.contact("9")
    story.exchange("9", "Pay", fate)
    story.attempt("9", "Pay", "succeeded", key="other")
    story.request("9", "Pay", key="other")
    assert f"(e) contact 9, step 'Pay', visit 1 got a new key after {fate}" in story.violations()


def test_changed_bytes_may_have_a_new_key_when_nothing_was_applied(story: Story) -> None:
    story.contact("9")
    story.exchange("9", "Pay", "answered", 422, False)
    story.attempt("9", "Pay", "succeeded", key="other", digest="mended")
    story.request("9", "Pay", key="other", body_hash="mended")
    assert story.violations() == []


def test_finds_other_bytes_under_the_same_key(story: Story) -> None:
    story.contact("9")
    story.exchange("9", "Pay", "unknown", 500, False)
    story.attempt("9", "Pay", "succeeded", digest="other")
    story.request("9", "Pay", body_hash="other")
    assert story.violations() == [
        "(e) key 9-Pay has 2 digests in the ledger",
        "(e) key 9-Pay came with 2 bodies",
    ]


def test_finds_a_request_without_an_intent(story: Story) -> None:
    story.contact("9")
    story.request("9", "Look", 200)
    story.exchange("9", "Look", "succeeded")
    story.attempt("9", "Look", "not_sent")
    assert story.violations() == ["(f) Look +9: 2 requests at the server, 1 sent by the ledger"]


def test_finds_a_keyed_request_without_a_key(story: Story) -> None:
    story.contact("9")
    story.attempt("9", "Pay", "succeeded")
    story.request("9", "Pay", key=None)
    assert "(f) key None: 1 requests at the server, 0 sent by the ledger" in story.violations()


@pytest.mark.parametrize(("gap", "found"), [(999, True), (1000, False)])
def test_finds_a_second_with_too_many_requests(gap: int, found: bool) -> None:
    told = Story()
    for number, at in enumerate((0, 500, 600, gap, gap + 501, gap + 1_500)):
        told.contact(str(number))
        told.exchange(str(number), "Look", "succeeded")
        told.log[-1] = replace(told.log[-1], t=at * MILLISECOND)
    expected = ["(g) 4 requests in one second from 0 ns; at most 3 are allowed"]
    assert told.violations(rate=3) == (expected if found else [])


def test_finds_more_doubts_than_the_kills_explain(story: Story) -> None:
    for identity in ("9", "10"):
        story.contact(identity, "in_doubt")
        story.attempt(identity, "Create", None)
    assert story.violations(kills=1, concurrency=1) == [
        "(h) 3 contacts are in doubt without a cause at the server; 1 may be"
    ]
    assert story.violations(kills=3, concurrency=1) == []
    assert story.violations(kills=None) == []


@pytest.mark.parametrize(
    ("applied", "found"),
    [
        pytest.param(["old", "new"], None, id="all-in-their-order"),
        pytest.param(["old"], "does not hold the newest of 2 contents", id="lost-update"),
        pytest.param(["new", "old"], "does not hold the newest of 2 contents", id="overwritten"),
        pytest.param(["new"], "2 contents came, 1 were applied", id="one-was-passed-over"),
        pytest.param(["old", "new", "new"], "2 contents came, 3 were applied", id="applied-twice"),
    ],
)
def test_finds_missing_content_and_content_out_of_order(applied: list[str], found: str | None) -> None:
    told = Story()
    told.contact("1")
    for epoch, body in enumerate(applied, start=1):
        told.attempt("1", "Pay", "succeeded", epoch=epoch, key=f"key-{epoch}", digest=body)
        told.request("1", "Pay", key=f"key-{epoch}", body_hash=body)
    broken = [text for text in told.violations(contents={"+1": ["old", "new"]}) if text.startswith("(i)")]
    assert len(broken) == bool(found)
    assert (found or "") in "".join(broken)


def test_an_idempotent_content_may_be_applied_twice_in_a_row() -> None:
    told = Story()
    told.contact("1")
    for body in ("old", "new", "new"):
        told.attempt("1", "Look", "succeeded")
        told.request("1", "Look", body_hash=body)
    assert told.violations(contents={"+1": ["old", "new"]}) == []
