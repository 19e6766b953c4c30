"""Dates and times as text have one format, independent of the Python version."""

from __future__ import annotations

import contextlib
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.answers import AnswerMisfit, AnswerRule
from airflow_whatsapp_flows.flow.conditions import compare
from airflow_whatsapp_flows.flow.moments import parse_day, parse_iso, parse_moment
from tests.flow.samples import render

UTC = dt.timezone.utc


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22", dt.datetime(2026, 11, 22)),
        ("2026-11-22T16:04", dt.datetime(2026, 11, 22, 16, 4)),
        ("2026-11-22 16:04:05", dt.datetime(2026, 11, 22, 16, 4, 5)),
        ("2026-11-22t16:04:05z", dt.datetime(2026, 11, 22, 16, 4, 5, tzinfo=UTC)),
        ("2026-11-22T16:04:05.1Z", dt.datetime(2026, 11, 22, 16, 4, 5, 100_000, tzinfo=UTC)),
        ("2026-11-22T16:04:05.123456789Z", dt.datetime(2026, 11, 22, 16, 4, 5, 123_456, tzinfo=UTC)),
        (
            "2026-11-22T16:04-06:30",
            dt.datetime(2026, 11, 22, 16, 4, tzinfo=dt.timezone(-dt.timedelta(hours=6, minutes=30))),
        ),
        ("2026-11-22T16:04:05+00:00", dt.datetime(2026, 11, 22, 16, 4, 5, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read(text: str, moment: dt.datetime) -> None:
    assert parse_iso(text) == moment
    assert parse_iso(text).utcoffset() == moment.utcoffset()


@pytest.mark.parametrize(
    "text",
    [
        "", "2026", "20261122", "2026-W47-7", "2026-W47", "2026-326", "2026-02-30", "2026-11-22T", "2026-11-22T16",
        "2026-11-22T1604", "2026-11-22T16:04:05,5", "2026-11-22T16:04:05.", "2026-11-22T24:00", "2026-11-22T16:60",
        "2026-11-22T16:04+0000", "2026-11-22T16:04+00", "2026-11-22T16:04+24:00", "2026-11-22T16:04:05+01:00:30",
        "2026-11-22Z", "2026-11-22x16:04", "2026-11-22  16:04", " 2026-11-22", "2026-11-22\n", "٢٠٢٦-11-22",
        "2026-11-22T16:04:60Z", "0000-01-01",
    ],
    ids=ascii,
)  # fmt: skip
def test_rejects_everything_else(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_iso(text)
    assert type(caught.value) is ValueError
    if text == text.strip():
        with pytest.raises(AnswerMisfit):
            AnswerRule(answer_type="DATETIME").read(text, {})
        with pytest.raises(AnswerMisfit):
            AnswerRule(answer_type="DATE").read(text, {})
        assert not compare("9999-01-01", "gt", text)
        assert render("{{ '" + text + "' is string }}") == "true"


def test_a_day_is_a_date_without_a_time() -> None:
    assert parse_day("2026-11-22") == dt.date(2026, 11, 22)
    with pytest.raises(ValueError, match="not a date"):
        parse_day("2026-11-22T10:00")


@pytest.mark.parametrize("text", ["9999-12-31T23:59-12:00", "2200-01-01", "1899-12-31T23:59", "0001-01-01T00:00+14:00"])
def test_refuses_a_time_out_of_the_clocks_range(text: str) -> None:
    with pytest.raises(ValueError, match="a year from 1900 to 2199 is expected"):
        parse_moment(text, UTC)
    assert parse_moment("2199-12-31T23:59", UTC).astimezone(UTC).year == 2199


@given(st.datetimes(timezones=st.just(UTC)))
def test_reads_what_python_writes(moment: dt.datetime) -> None:
    assert parse_iso(moment.isoformat()) == moment


@given(st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2})?([Zz]|[+-][0-9]{2}:[0-9]{2})?\Z"))
def test_comparing_never_raises(text: str) -> None:
    compare(text, "gt", "2026-11-22T16:04")
    with contextlib.suppress(AnswerMisfit):
        AnswerRule(answer_type="DATETIME").read(text, {})
