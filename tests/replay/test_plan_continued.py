"""The plan of a resumed replay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from tests.ledger.filling import a_replay, attempt, end, response
from tests.replay.test_plan import CREATE, a_flow, make_plan

HOOK = "https://hooks.example.com/services/T0001/B0002/x7Fq2LmZp9RtY4kWvB3nQ8sD"


def test_plans_a_resumed_replay_from_the_ledger(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3), None])
    end(ledger, replay, [ContactState.COMPLETED])

    found = make_plan([], ledger, replay=replay)

    assert (found.rows, found.done, found.rejected, found.total_walked, found.calls) == (4, 1, 1, 2, 2)


def test_an_unchanged_flow_checks_renames_of_pending_contacts_only(ledger: Ledger) -> None:
    flow = a_flow({**CREATE, "connection": None, "url": HOOK})
    assert flow.literals, "the ledger does not hold the flow as it is written"
    replay = replace(a_replay(ledger, [response(1), response(2)]), flow=flow.source_for_storage)
    end(ledger, replay, [ContactState.COMPLETED])
    attempt(ledger, "r-1", Fate.SUCCEEDED, step="Removed")

    assert make_plan([], ledger, flow=flow, replay=replay).total_walked == 1
    with pytest.raises(ReplayError, match="no such step any more"):
        make_plan([], ledger, flow=a_flow(), replay=replay)
