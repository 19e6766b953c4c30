"""Under ``only_once`` a person is claimed with the intent, and released if nothing was applied."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update

from airflow_whatsapp_flows.errors import IntentConflictError, OnceClaimedError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import AttemptEnd, Intent, Journal, Ledger
from airflow_whatsapp_flows.ledger.rows import OnceClaim
from airflow_whatsapp_flows.ledger.schema import attempts, once
from tests.ledger.filling import attempts_of, intent

ANA, EVA = ("phone:+525512345678", "email:ana@example.com"), ("phone:+525587654321",)


def claims(ledger: Ledger) -> set[tuple[str, str, str]]:
    with ledger.read() as connection:
        rows = connection.execute(select(once.c.step_id, once.c.identifier, once.c.response_id))
        return {tuple(row) for row in rows}


def once_intent(number: int, marks: tuple[str, ...] = ANA, **more: Any) -> Intent:
    return intent(f"r-{number}", once=OnceClaim(more.get("step", "Create"), marks), **more)


async def test_accepts_only_the_first_of_two_intents_in_one_commit(ledger: Ledger) -> None:
    async with Journal(ledger) as journal:
        entries = [
            once_intent(1),
            once_intent(2),
            once_intent(3, EVA),
            intent("r-4"),
            once_intent(5, ANA[1:]),
            once_intent(6, step="Note"),
        ]
        done = await asyncio.gather(*map(journal.add, entries), return_exceptions=True)

    assert [type(one) for one in done] == [
        type(None), OnceClaimedError, type(None), type(None), OnceClaimedError, type(None),
    ]  # fmt: skip
    assert [len(attempts_of(ledger, f"r-{number}")) for number in range(1, 7)] == [1, 0, 1, 1, 0, 1]
    assert claims(ledger) == {
        *(("Create", mark, "r-1") for mark in ANA), ("Create", EVA[0], "r-3"), *(("Note", mark, "r-6") for mark in ANA),
    }  # fmt: skip


async def test_a_refused_claim_does_not_hide_a_duplicate_intent(ledger: Ledger) -> None:
    async with Journal(ledger) as journal:
        await journal.add(once_intent(1))
        entries = [once_intent(2), once_intent(1), once_intent(3, EVA)]
        done = await asyncio.gather(*map(journal.add, entries), return_exceptions=True)

    assert [type(one) for one in done] == [OnceClaimedError, IntentConflictError, type(None)]


async def test_two_processes_cannot_claim_the_same_person(ledger: Ledger) -> None:
    async with Journal(ledger) as one, Journal(ledger) as other:
        both = [journal.add(once_intent(number * 2 + which, (f"phone:{number}", f"email:{99 - number}")))
                for number in range(100) for which, journal in enumerate((one, other))]  # fmt: skip
        done = await asyncio.gather(*both, return_exceptions=True)

    assert {type(result) for result in done} == {type(None), OnceClaimedError}
    holders: dict[str, set[str]] = {}
    for _, mark, response_id in claims(ledger):
        holders.setdefault(mark, set()).add(response_id)
    assert all(len(responses) == 1 for responses in holders.values())
    sent = [number for number in range(200) if attempts_of(ledger, f"r-{number}")]
    assert len(sent) == sum(result is None for result in done) <= 100


@pytest.mark.parametrize(
    ("fate", "status", "freed"),
    [
        (Fate.NOT_SENT, None, True),
        (Fate.ANSWERED, 422, True),
        (Fate.ANSWERED, 429, True),
        (Fate.ANSWERED, 504, False),  # the server failed, and may have done it first
        (Fate.ANSWERED, 200, False),
        (Fate.SUCCEEDED, 201, False),
        (Fate.APPLIED, 200, False),
        (Fate.UNKNOWN, None, False),
    ],
)
async def test_frees_a_person_if_nothing_was_applied(
    ledger: Ledger, fate: Fate, status: int | None, freed: bool
) -> None:
    async with Journal(ledger) as journal:
        await journal.add(once_intent(1))
        journal.note(AttemptEnd(once_intent(1), fate, status, None, None, 902.0))
        [done] = await asyncio.gather(journal.add(once_intent(2)), return_exceptions=True)

    assert (done is None) is freed
    assert {holder for _, _, holder in claims(ledger)} == {"r-2" if freed else "r-1"}


async def test_keeps_a_claim_while_an_attempt_may_be_applied(ledger: Ledger) -> None:
    async with Journal(ledger) as journal:
        await journal.add(once_intent(1))
        journal.note(AttemptEnd(once_intent(1), Fate.SUCCEEDED, 201, None, None, 902.0))
        again = once_intent(1, visit=2, key="other")
        await journal.add(again)
        journal.note(AttemptEnd(again, Fate.ANSWERED, 422, None, None, 903.0))
        [done] = await asyncio.gather(journal.add(once_intent(2)), return_exceptions=True)

    assert isinstance(done, OnceClaimedError)


async def test_a_renamed_step_keeps_the_claims_of_its_earlier_name(ledger: Ledger) -> None:
    """Create became New and keeps the identity Create; the first attempt may have been applied."""
    async with Journal(ledger) as journal:
        await journal.add(once_intent(1))
        journal.note(AttemptEnd(once_intent(1), Fate.UNKNOWN, None, None, None, 902.0))
        again = intent("r-1", step="New", step_id="Create", number=2, once=OnceClaim("new", ANA, ("Create",)))
        await journal.add(again)
        journal.note(AttemptEnd(again, Fate.ANSWERED, 422, None, None, 903.0))
        other = intent("r-2", step="New", once=OnceClaim("new", ANA, ("Create",)))
        [done] = await asyncio.gather(journal.add(other), return_exceptions=True)

    assert isinstance(done, OnceClaimedError)
    assert {holder for _, _, holder in claims(ledger)} == {"r-1"}


async def test_a_refusal_under_the_new_name_frees_the_claim_of_the_old_one(ledger: Ledger) -> None:
    async with Journal(ledger) as journal:
        await journal.add(once_intent(1))
    with ledger.write() as connection:  # the process died after its intent; somebody has looked it up
        connection.execute(update(attempts).values(fate=Fate.NOT_SENT.value))
    async with Journal(ledger) as journal:
        again = intent("r-1", step="New", step_id="new", once=OnceClaim("new", ANA, ("Create",)))
        await journal.add(again)
        journal.note(AttemptEnd(again, Fate.ANSWERED, 422, None, None, 903.0))

    assert claims(ledger) == set()


async def test_a_claim_under_an_earlier_name_holds_for_a_renamed_step(ledger: Ledger) -> None:
    async with Journal(ledger) as journal:
        await journal.add(once_intent(1))  # of the step Create, which is New now
        again = intent("r-1", step="New", step_id="Create", number=2, once=OnceClaim("new", ANA, ("Create",)))
        other = intent("r-2", step="New", once=OnceClaim("new", ANA, ("Create",)))
        done = await asyncio.gather(journal.add(other), journal.add(again), return_exceptions=True)

    assert [type(one) for one in done] == [OnceClaimedError, type(None)]
