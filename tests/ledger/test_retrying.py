"""Which contacts are walked again, and what becomes of their rows."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.delivery import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.replays import find_replay
from airflow_whatsapp_flows.ledger.retrying import Choice, walk_again
from tests.ledger.filling import a_replay, attempt, change, end, response, rows_of, states_of

C, F, D, P = ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT, ContactState.PENDING


def test_by_default_those_that_failed_are_pending_in_a_new_round(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3), None])
    end(ledger, replay, [C, F, D], fingerprint="f", path='["Create"]', error="{}", handled_errors=2, unanswered=True)

    chosen = walk_again(ledger, replay, Choice())

    assert (chosen.contacts, chosen.purged) == (1, 0)
    assert states_of(ledger, replay) == ["completed", "pending", "in_doubt", "rejected"]
    row = rows_of(ledger, replay)[1]
    assert (row.round, row.handled_errors, row.unanswered) == (2, 0, False)
    assert (row.reason, row.path, row.error, row.fingerprint, row.ended_at) == (None,) * 5
    assert row.response is not None


def test_states_that_are_named_are_chosen_and_no_others(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3), response(1)])
    end(ledger, replay, [C, F, D])

    chosen = walk_again(ledger, replay, Choice(states=[C, D, ContactState.SKIPPED]))

    assert chosen.contacts == 3
    assert states_of(ledger, replay) == ["pending", "failed", "pending", "pending"]


def test_a_pending_contact_keeps_its_round(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2)])

    assert walk_again(ledger, replay, Choice(states=[P, F])).contacts == 0
    assert [row.round for row in rows_of(ledger, replay)] == [1, 1]


def test_a_rejected_row_is_never_walked(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), None])
    end(ledger, replay, [F])

    with pytest.raises(ReplayError, match="mend it in the source"):
        walk_again(ledger, replay, Choice(states=[F, ContactState.REJECTED]))
    assert states_of(ledger, replay) == ["failed", "rejected"]


def test_a_step_chooses_by_its_last_attempt_and_takes_completed_contacts_too(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 6)])
    end(ledger, replay, [C, C, F, D, C])
    attempt(ledger, "r-1", Fate.ANSWERED, replay, error_kind="status")
    attempt(ledger, "r-2", Fate.ANSWERED, replay)
    attempt(ledger, "r-2", Fate.SUCCEEDED, replay, number=2)
    attempt(ledger, "r-3", Fate.SUCCEEDED, replay)
    attempt(ledger, "r-4", None, replay)
    attempt(ledger, "r-5", Fate.ANSWERED, replay, step="Other")

    chosen = walk_again(ledger, replay, Choice(step="Create"))

    assert chosen.contacts == 2
    assert states_of(ledger, replay) == ["pending", "completed", "failed", "pending", "completed"]


def test_every_condition_must_hold(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 5)])
    ids = end(ledger, replay, [F, F, F, C], fingerprint="f")
    change(ledger, ids[0], ended_at=500.0)
    change(ledger, ids[1], fingerprint="g")

    chosen = walk_again(ledger, replay, Choice(fingerprint="f", since=1000.0, until=1001.0))

    assert chosen.contacts == 1
    assert chosen.others == {C: 1}
    assert states_of(ledger, replay) == ["failed", "failed", "pending", "completed"]
    assert walk_again(ledger, replay, Choice(until=1000.0)).contacts == 1  # until is not in it


def test_a_contact_whose_response_was_purged_stays(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2)])
    ids = end(ledger, replay, [F, F])
    change(ledger, ids[0], response=None)

    chosen = walk_again(ledger, replay, Choice())

    assert (chosen.contacts, chosen.purged) == (1, 1)
    assert states_of(ledger, replay) == ["failed", "pending"]


def test_other_replays_are_left_alone_and_a_mended_flow_is_kept(ledger: Ledger) -> None:
    replay, other = a_replay(ledger, [response(1)]), a_replay(ledger, [response(2)], "second")
    end(ledger, replay, [F])
    end(ledger, other, [F])

    walk_again(ledger, replay, Choice(), '{"mended": true}')

    assert states_of(ledger, other) == ["failed"]
    found, left = find_replay(ledger, "first"), find_replay(ledger, "second")
    assert found is not None
    assert left is not None
    assert (found.flow, left.flow) == ('{"mended": true}', "{}")


def test_a_forced_replay_chooses_by_its_own_attempts(ledger: Ledger) -> None:
    forced = a_replay(ledger, [response(1)], force=True)
    end(ledger, forced, [C])
    attempt(ledger, "r-1", Fate.ANSWERED, forced)
    attempt(ledger, "r-1", Fate.SUCCEEDED, key="other")

    assert walk_again(ledger, forced, Choice(step="Create")).contacts == 1
