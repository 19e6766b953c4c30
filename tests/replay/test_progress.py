"""The progress of a run."""

from __future__ import annotations

import datetime as dt

from airflow_whatsapp_flows.replay.prior_sends import Postponed
from airflow_whatsapp_flows.replay.progress import Progress


def at(hour: int) -> dt.datetime:
    return dt.datetime(2027, 1, 15, hour, tzinfo=dt.timezone.utc)


def test_finds_the_first_and_last_time_of_waiting_contacts() -> None:
    progress = Progress()
    assert (progress.first_until, progress.last_until) == (None, None)

    for held in (Postponed("a", at(9)), Postponed("b", at(7)), Postponed("elsewhere"), Postponed("a", at(15))):
        progress.postpone(held)

    assert (progress.first_until, progress.last_until) == (at(7), at(15))
    assert progress.postponed == {"a": 2, "b": 1, "elsewhere": 1}
