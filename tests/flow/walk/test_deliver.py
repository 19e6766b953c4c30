"""The protocol that every sender drives: an intent before each exchange, and a note after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from airflow_whatsapp_flows.flow.delivery.decision import Attempt, derive_key
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.reply.hidden import Hidden, Veil
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, HttpResponse, Reply, Sent
from airflow_whatsapp_flows.flow.request.messages import TransportFailure as Failure
from airflow_whatsapp_flows.flow.walk.deliver import (
    Answer,
    Exchange,
    Intend,
    Note,
    Pause,
    Prepare,
    Recall,
    Rest,
    Step,
    advance,
    carry_out,
    deliver,
)
from airflow_whatsapp_flows.flow.walk.perform import SendAction

POST = HttpRequest("POST", "https://crm.example/")
CREATED, BUSY = HttpResponse(201), HttpResponse(503)
RESET = Failure(ErrorKind.INTERRUPTED, "the connection broke", Sent.UNKNOWN)
REFUSED = Failure(ErrorKind.CONNECT, "nobody listens", Sent.NO)
NOW = 1_800_000_000.0


def effect_of(delivery: str = "idempotent", attempts: int = 3) -> SendAction:
    step = {"name": "Send", "type": "action", "url": "https://crm.example/", "body": {"a": 1}, "delivery": delivery}
    step["retry"] = {"attempts": attempts}
    action = load_flow({"flow_format": 1, "id": "f", "steps": [step]}).steps["Send"]
    assert isinstance(action, Action)
    return SendAction(action, 1, POST, "base").with_key("base")


class Sender:
    """Carries out steps from memory, and records them.

    Args:
        replies: to the exchanges, in order; ``None`` withdraws a request.
        known: attempts from earlier, by key.
        goes_on: whether another attempt is made.
    """

    def __init__(
        self, *replies: Reply | None, known: dict[str, list[Attempt]] | None = None, goes_on: bool = True
    ) -> None:
        self.steps: list[Step] = []
        self._replies = list(replies)
        self._known = known or {}
        self._goes_on = goes_on

    def do(self, step: Step) -> Answer:
        self.steps.append(step)
        match step:
            case Prepare():
                return step.effect.request
            case Recall():
                return list(self._known.get(step.effect.idempotency_key, []))
            case Pause():
                return self._goes_on
            case Intend():
                return NOW
            case Exchange():
                return self._replies.pop(0)
            case _:
                return None

    @property
    def names(self) -> list[str]:
        return [type(step).__name__ for step in self.steps]

    def notes(self) -> list[Note]:
        return [step for step in self.steps if isinstance(step, Note)]


def deliver_with(sender: Sender, effect: SendAction | None = None, **options: Any) -> ActionResult:
    options.setdefault("clock", lambda: NOW)
    return carry_out(deliver(effect or effect_of(), **options), sender.do)


def test_a_request_is_intended_sent_and_noted() -> None:
    sender = Sender(CREATED)

    result = deliver_with(sender)

    assert sender.names == ["Prepare", "Recall", "Intend", "Exchange", "Note"]
    [note] = sender.notes()
    assert (note.attempt.number, note.attempt.begun_at, note.attempt.fate) == (1, NOW, Fate.SUCCEEDED)
    assert note.attempt.digest == POST.digest()
    assert result is note.attempt.result
    assert result.outcome is Outcome.SUCCESS


def test_each_further_attempt_pauses_first() -> None:
    sender = Sender(BUSY, CREATED)

    result = deliver_with(sender)

    assert sender.names[2:] == ["Intend", "Exchange", "Note", "Pause", "Intend", "Exchange", "Note"]
    [pause] = [step for step in sender.steps if isinstance(step, Pause)]
    assert pause.result is sender.notes()[0].attempt.result
    assert [note.attempt.number for note in sender.notes()] == [1, 2]
    assert result.outcome is Outcome.SUCCESS


def test_a_sender_that_makes_no_more_attempts_gets_the_last_result() -> None:
    sender = Sender(RESET, goes_on=False)

    result = deliver_with(sender)

    assert sender.names[-1] == "Pause"
    assert result.error is not None
    assert (result.error.kind, result.error.sent) == (ErrorKind.INTERRUPTED, Sent.UNKNOWN)


def test_a_withdrawn_request_is_noted_as_not_sent_and_does_not_use_up_an_attempt() -> None:
    sender = Sender(None, None, None, None, CREATED)

    result = deliver_with(sender, effect_of(attempts=2))

    assert [note.attempt.fate for note in sender.notes()] == [Fate.NOT_SENT] * 4 + [Fate.SUCCEEDED]
    assert "Pause" not in sender.names
    assert sender.notes()[0].result_for_ledger() is None
    assert result.outcome is Outcome.SUCCESS


def test_a_delay_of_the_flow_is_over_before_the_intent() -> None:
    left = [30.0, 5.0, 0.0]
    sender = Sender(CREATED)

    deliver_with(sender, delay=lambda: left.pop(0))

    assert [step.seconds for step in sender.steps if isinstance(step, Rest)] == [30.0, 5.0]
    assert sender.names == ["Prepare", "Recall", "Rest", "Rest", "Intend", "Exchange", "Note"]


def test_a_recorded_result_sends_nothing() -> None:
    done = Sender(CREATED)
    deliver_with(done)
    again = Sender(known={"base": [done.notes()[0].attempt]})

    result = deliver_with(again, delay=lambda: 60.0)

    assert again.names == ["Prepare", "Recall"]
    assert result == done.notes()[0].attempt.result


def test_changed_bytes_that_were_not_applied_go_out_under_another_key() -> None:
    other = Attempt(1, "other bytes", NOW, Fate.NOT_SENT, None, current=False)
    sender = Sender(CREATED, known={"base": [other]})

    deliver_with(sender, effect_of("keyed"))

    key = derive_key("base", effect_of("keyed").request.digest())
    assert sender.names[:4] == ["Prepare", "Recall", "Prepare", "Recall"]
    recalls = [step for step in sender.steps if isinstance(step, Recall)]
    assert [(step.effect.idempotency_key, step.base) for step in recalls] == [("base", "base"), (key, "base")]
    [intend] = [step for step in sender.steps if isinstance(step, Intend)]
    assert ("Idempotency-Key", f'"{key}"') in intend.request.headers or (
        "Idempotency-Key",
        key,
    ) in intend.request.headers
    assert sender.notes()[0].effect.idempotency_key == key


def test_a_review_changes_what_is_noted_and_returned() -> None:
    def review(result: ActionResult, reply: Reply) -> ActionResult:
        assert reply is CREATED
        return replace(result, reason="reviewed")

    sender = Sender(CREATED)

    assert deliver_with(sender, review=review).reason == "reviewed"
    assert '"reason":"reviewed"' in str(sender.notes()[0].result_for_ledger())


def test_only_a_success_that_nobody_reads_loses_its_content() -> None:
    content = HttpResponse(200, "", (("Content-Type", "application/json"),), b'{"id": 7}')
    sender = Sender(replace(content, status_code=503), content)
    deliver_with(sender)
    failed, done = sender.notes()

    assert '"response":{"id":7}' in str(failed.result_for_ledger(keep_content=False))
    assert '"response":{"id":7}' in str(done.result_for_ledger())
    assert '"response":null' in str(done.result_for_ledger(keep_content=False))


def test_sensitive_values_are_hidden_in_what_is_recorded() -> None:
    hidden = Hidden((), ("x7Fq2LmZp9RtY4kWvB3nQ8sD",))
    effect = replace(effect_of(), veil=Veil(hidden, "Send"))
    sender = Sender(HttpResponse(200, "", (("Content-Type", "text/plain"),), b"saved x7Fq2LmZp9RtY4kWvB3nQ8sD"))
    deliver_with(sender, effect)

    assert "x7Fq2LmZp9RtY4kWvB3nQ8sD" not in str(sender.notes()[0].result_for_ledger())


REPLIES = st.lists(st.sampled_from([CREATED, BUSY, RESET, REFUSED, HttpResponse(400), HttpResponse(429), None]))


@given(
    replies=REPLIES,
    delivery=st.sampled_from(["at_most_once", "keyed", "idempotent"]),
    attempts=st.integers(1, 5),
    goes_on=st.booleans(),
)
def test_whatever_comes_every_exchange_has_its_intent_and_its_note(
    replies: list[Reply | None], delivery: str, attempts: int, goes_on: bool
) -> None:
    sender = Sender(*replies, *([CREATED] * 20), goes_on=goes_on)

    deliver_with(sender, effect_of(delivery, attempts))

    sending = [step for step in sender.steps if isinstance(step, (Intend, Exchange, Note))]
    assert [type(step) for step in sending] == [Intend, Exchange, Note] * (len(sending) // 3)
    for intend, exchange, note in zip(sending[::3], sending[1::3], sending[2::3], strict=True):
        assert isinstance(intend, Intend)
        assert isinstance(exchange, Exchange)
        assert isinstance(note, Note)
        assert exchange.request is intend.request
        assert (note.attempt.number, note.attempt.digest) == (intend.number, intend.digest)
    assert [note.attempt.number for note in sender.notes()] == list(range(1, len(sending) // 3 + 1))
    made = [note for note in sender.notes() if note.attempt.result is not None]
    assert len(made) <= attempts


@pytest.mark.parametrize(
    ("step", "answer"), [(Prepare, None), (Recall, None), (Intend, None), (Exchange, "a reply")], ids=lambda it: str(it)
)
def test_a_wrong_answer_is_a_type_error(step: type[Step], answer: Any) -> None:
    sender = Sender(CREATED)

    def do(asked: Step) -> Answer:
        return answer if isinstance(asked, step) else sender.do(asked)

    with pytest.raises(TypeError, match="must be"):
        carry_out(deliver(effect_of()), do)


def test_a_step_is_answered_once() -> None:
    delivering = deliver(effect_of(), clock=lambda: NOW)
    answers: list[Callable[[], Answer]] = [lambda: None, lambda: POST, list, lambda: NOW, lambda: CREATED, lambda: None]
    steps = [advance(delivering, answer()) for answer in answers]

    assert [type(step) for step in steps] == [Prepare, Recall, Intend, Exchange, Note, ActionResult]
