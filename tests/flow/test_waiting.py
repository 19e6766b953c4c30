"""The length of a delay, and the hours in which it may end."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.waiting import TimeWindow, WaitRule

UTC = dt.timezone.utc
MEXICO = "America/Mexico_City"
MONDAY = dt.datetime(2026, 11, 23, 15, 0, tzinfo=UTC)  # nine o'clock in Mexico City
OFFICE = tuple(TimeWindow(day, dt.time(9), dt.time(17, 30)) for day in range(5))


def test_a_delay_lasts_its_configured_time() -> None:
    assert WaitRule(90).ends(MONDAY) == MONDAY + dt.timedelta(seconds=90)


def test_does_not_wait_for_a_past_time() -> None:
    assert WaitRule().ends(MONDAY, MONDAY - dt.timedelta(days=1)) == MONDAY
    assert WaitRule().ends(MONDAY, MONDAY + dt.timedelta(days=1)) == MONDAY + dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("reached", "ends"),
    [
        pytest.param("2026-11-23T09:00", "2026-11-23T09:00", id="at the beginning of a window"),
        pytest.param("2026-11-23T17:29", "2026-11-23T17:29", id="before its end"),
        pytest.param("2026-11-23T17:30", "2026-11-24T09:00", id="at its end"),
        pytest.param("2026-11-23T08:59", "2026-11-23T09:00", id="before it"),
        pytest.param("2026-11-27T20:00", "2026-11-30T09:00", id="over a weekend"),
    ],
)
def test_ends_in_the_next_open_window_of_the_flows_zone(reached: str, ends: str) -> None:
    zone = ZoneInfo(MEXICO)
    rule = WaitRule(0, OFFICE, MEXICO)

    over = rule.ends(dt.datetime.fromisoformat(reached).replace(tzinfo=zone))

    assert over == dt.datetime.fromisoformat(ends).replace(tzinfo=zone)


def test_looks_for_a_window_after_the_delay() -> None:
    rule = WaitRule(9 * 3600, OFFICE, MEXICO)

    assert rule.ends(MONDAY) == dt.datetime(2026, 11, 24, 15, 0, tzinfo=UTC)


def test_todays_window_repeats_in_a_week() -> None:
    rule = WaitRule(0, (TimeWindow(0, dt.time(9), dt.time(10)),), "UTC")

    assert rule.ends(MONDAY) == dt.datetime(2026, 11, 30, 9, 0, tzinfo=UTC)


def test_a_window_without_an_end_lasts_until_midnight() -> None:
    rule = WaitRule(0, (TimeWindow(0, dt.time(9), None),), "UTC")
    late = dt.datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC)

    assert rule.ends(late) == late
    assert rule.ends(late + dt.timedelta(seconds=1)) == dt.datetime(2026, 11, 30, 9, 0, tzinfo=UTC)


def test_a_window_skipped_by_dst_opens_after_the_change() -> None:
    # In New York clocks went from 02:00 to 03:00 on 8 March 2026, a Sunday.
    rule = WaitRule(0, (TimeWindow(6, dt.time(2, 30), dt.time(4)),), "America/New_York")

    over = rule.ends(dt.datetime(2026, 3, 8, 6, 0, tzinfo=UTC))

    assert over == dt.datetime(2026, 3, 8, 7, 30, tzinfo=UTC)


@given(
    reached=st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2030, 1, 1), timezones=st.just(UTC)),
    seconds=st.floats(0, 1e7),
    windows=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 22), st.integers(1, 24)), min_size=1, max_size=5),
    zone=st.sampled_from(["UTC", MEXICO, "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_ends_within_eight_days_after_the_delay(
    reached: dt.datetime, seconds: float, windows: list[tuple[int, int, int]], zone: str
) -> None:
    rule = WaitRule(
        seconds,
        tuple(
            TimeWindow(day, dt.time(start), dt.time(end) if start < end < 24 else None) for day, start, end in windows
        ),
        zone,
    )
    over, earliest = rule.ends(reached), reached + dt.timedelta(seconds=seconds)

    assert earliest <= over <= earliest + dt.timedelta(days=8)
    assert rule.ends(over - dt.timedelta(seconds=seconds)) - over < dt.timedelta(milliseconds=1)
