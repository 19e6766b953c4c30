"""Charts: every contact is in one bar or spread over several, and bars are as wide as people count time."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.ledger import ContactState
from airflow_whatsapp_flows.ledger.ended_contacts import EndedContacts
from airflow_whatsapp_flows.plugin.charts import DAY, Bar, chart_of_week, chart_over_time

C, F = ContactState.COMPLETED, ContactState.FAILED


def test_contacts_are_in_the_bar_of_their_time() -> None:
    ends = [*(EndedContacts(C, 1, at, at) for at in (100.0, 100.5, 140.0)), EndedContacts(F, 2, 140, 140)]
    chart = chart_over_time(ends)
    assert chart is not None
    assert list(chart.bars) == [Bar(2, 0), *[Bar(0, 0)] * 39, Bar(1, 2)]
    assert (chart.start, chart.end, chart.width, chart.peak) == (100.0, 141.0, "1 s", 3)
    assert (chart.total, chart.bad, chart.error_rate) == (5, 2, "40 %")


@pytest.mark.parametrize(("first", "last"), [(1000.0, 1600.0), (1003.7, 1599.2), (1000.0, 1001.0), (1590.0, 1600.0)])
def test_contacts_of_a_chunk_are_spread_and_all_counted(first: float, last: float) -> None:
    one, chunk, error = EndedContacts(C, 1, 1000, 1000), EndedContacts(C, 1000, first, last), (F, 1, 1600.0, 1600.0)
    chart = chart_over_time([one, chunk, EndedContacts(*error)])
    assert chart is not None
    assert sum(bar.good for bar in chart.bars) == pytest.approx(1001)
    assert all(bar.good >= 0 for bar in chart.bars)
    assert (chart.width, chart.total) == ("15 s", 1002)


@pytest.mark.parametrize(
    ("seconds", "width"),
    [
        (1, "0.1 s"),
        (59, "1 s"),
        (61, "2 s"),
        (3601, "2 min"),
        (86_401, "30 min"),
        (29 * DAY, "12 h"),
        (9e8, "174 days"),
    ],
)
def test_there_are_at_most_60_bars(seconds: float, width: str) -> None:
    chart = chart_over_time([EndedContacts(C, 1, 0, 0), EndedContacts(C, 1, seconds, seconds)])
    assert chart is not None
    assert (chart.width, len(chart.bars) <= 60, chart.total) == (width, True, 2)
    assert chart.end >= seconds


@pytest.mark.parametrize("ends", [[], [EndedContacts(C, 5, 7.0, 7.5)], [EndedContacts(C, 0, 0, 100)]])
def test_what_ended_at_one_moment_has_no_chart(ends: list[EndedContacts]) -> None:
    assert chart_over_time(ends) is None


@pytest.mark.parametrize(
    ("day", "rate"),
    [((99, 1), "1.0 %"), ((10**6, 1), "0.1 %"), ((1, 0), "0 %"), ((0, 3), "100 %"), ((0, 0), "0 %")],
)
def test_a_rare_error_is_not_rounded_away(day: tuple[int, int], rate: str) -> None:
    assert chart_of_week([day], 1e9).error_rate == rate


def test_the_last_day_is_the_last_bar() -> None:
    chart = chart_of_week([(1, 0)] * 6 + [(3, 1)], 10 * DAY)
    assert (chart.total, chart.last_bar.total, chart.last_bar.error_rate) == (10, 4, "25 %")
    assert (chart.start, chart.last_bar.start) == (3 * DAY, 9 * DAY)
