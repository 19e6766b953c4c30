"""Every state has a look, and a replay is in exactly one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.plugin.states import REPLAY_STATES, STATES, replay_state


def test_every_state_of_a_contact_has_a_look() -> None:
    assert set(STATES) == set(ContactState)


@pytest.mark.parametrize(
    ("sealed", "started", "ended", "counts", "expected"),
    [
        pytest.param(False, None, None, {}, "reading", id="reading its source"),
        pytest.param(True, None, None, {ContactState.PENDING: 1}, "waiting", id="not started"),
        pytest.param(True, 1.0, None, {ContactState.PENDING: 1, ContactState.FAILED: 1}, "running", id="running"),
        pytest.param(True, 1.0, 2.0, {ContactState.PENDING: 1}, "stopped", id="stopped"),
        pytest.param(True, 1.0, 2.0, {ContactState.COMPLETED: 1, ContactState.REJECTED: 1}, "errors", id="with errors"),
        pytest.param(True, 1.0, 2.0, {ContactState.COMPLETED: 1, ContactState.SKIPPED: 1}, "done", id="done"),
        pytest.param(True, 1.0, 2.0, {}, "done", id="empty"),
    ],
)
def test_state_of_a_replay(
    sealed: bool, started: float | None, ended: float | None, counts: dict[ContactState, int], expected: str
) -> None:
    replay = SimpleNamespace(sealed=sealed, started_at=started, ended_at=ended)
    assert replay_state(replay, {state: counts.get(state, 0) for state in ContactState}) == expected
    assert expected in REPLAY_STATES
