"""The SQL conditions on fates agree with the delivery table."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from airflow_whatsapp_flows.flow.delivery import decision
from airflow_whatsapp_flows.flow.delivery.decision import Attempt
from airflow_whatsapp_flows.flow.delivery.rule import RetryRule
from airflow_whatsapp_flows.flow.delivery.table import CARRIED_OUT_FATES, UNKNOWN_FATES, Delivery, Fate
from airflow_whatsapp_flows.ledger import AttemptEnd, Ledger
from airflow_whatsapp_flows.ledger.applied import is_unknown, may_have_been_applied, was_carried_out
from airflow_whatsapp_flows.ledger.attempts import group_by_type, write_entries
from airflow_whatsapp_flows.ledger.schema import attempts
from tests.ledger.filling import intent

STATUSES = (None, 101, 200, 204, 299, 302, 400, 404, 408, 425, 429, 499, 500, 503, 599)


@pytest.mark.parametrize("status", STATUSES)
def test_sql_agrees_with_the_delivery_table(ledger: Ledger, status: int | None) -> None:
    rule = RetryRule(Delivery.AT_MOST_ONCE)
    with ledger.write() as connection:
        for fate in Fate:
            one = intent(f"r-{fate.value}")
            write_entries(connection, group_by_type([one]))
            write_entries(connection, group_by_type([AttemptEnd(one, fate, status, None, None, 1.0)]))
        write_entries(connection, group_by_type([intent("r-open")]))
        found = set(connection.execute(select(attempts.c.response_id).where(may_have_been_applied())).scalars())
    expected = {
        f"r-{fate.value}"
        for fate in Fate
        if decision.may_have_been_applied(rule, Attempt(1, "d", 0.0, fate, None, status_code=status))
    }
    assert found == {*expected, "r-open"}


def test_sql_sets_of_fates_are_those_of_the_delivery_table(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for fate in Fate:
            one = intent(f"r-{fate.value}")
            write_entries(connection, group_by_type([one]))
            write_entries(connection, group_by_type([AttemptEnd(one, fate, None, None, None, 1.0)]))
        write_entries(connection, group_by_type([intent("r-open")]))
        unknown = set(connection.execute(select(attempts.c.fate).where(is_unknown())).scalars())
        carried_out = set(connection.execute(select(attempts.c.fate).where(was_carried_out())).scalars())
    assert unknown == UNKNOWN_FATES
    assert carried_out == CARRIED_OUT_FATES
