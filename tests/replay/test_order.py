"""All responses of one person are walked one after the other, whatever identifiers they share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.identity import Identity
from airflow_whatsapp_flows.ledger.records import PendingContact, ResponseRecord
from airflow_whatsapp_flows.replay.order import PersonOrder, Turn

MARKS = st.lists(st.sampled_from("abcde"), max_size=4)  # a flow may list one identifier twice


def contact(number: int, marks: list[str]) -> PendingContact:
    others = tuple(("id", mark) for mark in marks)
    return PendingContact(number, "", "", None, "{}", 1, ResponseRecord(), Identity(others=others))


@given(st.lists(MARKS, max_size=12), st.randoms(use_true_random=False))
def test_no_two_contacts_of_a_person_are_walked_at_once(contacts: list[list[str]], chance: object) -> None:
    order, turns = PersonOrder(), list[Turn]()
    walked: list[int] = []
    ready = []
    for number, marks in enumerate(contacts):
        turns.append(order.add(contact(number, marks)))
        if not turns[-1].before:
            ready.append(turns[-1])
    while ready:
        for one in ready:
            for other in ready:
                assert one is other or set(contacts[one.contact.id]).isdisjoint(contacts[other.contact.id])
        turn = ready.pop(chance.randrange(len(ready)))  # type: ignore[attr-defined]
        walked.append(turn.contact.id)
        ready += order.finish(turn)

    assert sorted(walked) == list(range(len(contacts)))
    for later, marks in enumerate(contacts):
        for earlier in range(later):
            assert walked.index(earlier) < walked.index(later) or set(marks).isdisjoint(contacts[earlier])
