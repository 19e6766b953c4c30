"""Values of a cursor column are compared as what they mean, and bound as the source writes them."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.watermark import CursorError, Watermark, mark_of, parse_watermark, text_shape

UTC = dt.timezone.utc
NOON = dt.datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        (7, "number"), (7.5, "number"), (Decimal("7.5"), "number"), (NOON, "time"),
        (NOON.replace(tzinfo=None), "local_time"), (NOON.date(), "date"), ("2026-11-20T12:00:00Z", "time"),
        ("2026-11-20 12:00:00+00", "time"), ("2026-11-20 12:00:00.123456-0600", "time"),
        ("2026-11-20 12:00:00", "local_time"), ("2026-11-20", "date"), ("01J8Z", "text"), ("0007", "text"),
        (uuid.UUID(int=7), "text"),
    ],
    ids=str,
)  # fmt: skip
def test_the_kind_of_a_value(cell: Any, kind: str) -> None:
    mark = mark_of(cell)
    assert mark is not None
    assert mark.kind == kind
    assert Watermark.of(cell).family == kind
    assert Watermark.of(cell).mark.order == mark.order


@pytest.mark.parametrize("cell", [None, "", float("nan"), float("inf"), Decimal("NaN")], ids=str)
def test_some_cells_have_no_value(cell: Any) -> None:
    assert mark_of(cell) is None


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (True, "a bool, which has no order"), (b"x", "a bytes, which has no order"), ([1], "a list, which has"),
        (dt.time(12), "a time, which has no order"), ("10", "a text of digits, which does not sort as a number"),
        ("20/11/2026 12:00", "does not sort as a date"), ("20-Nov-2026", "does not sort as a date"),
        ("2026-02-30", "there is no such day"),
    ],
    ids=str,
)  # fmt: skip
def test_some_values_have_no_order(cell: Any, words: str) -> None:
    with pytest.raises(CursorError, match=words):
        mark_of(cell)


def test_digits_of_a_source_without_types_are_a_number() -> None:
    nine, ten = mark_of("9", is_untyped=True), mark_of("10", is_untyped=True)
    assert nine is not None
    assert ten is not None
    assert (nine.kind, nine.order < ten.order) == ("number", True)


def test_times_are_compared_as_instants() -> None:
    earlier, later = mark_of("2026-11-20T12:30:00+01:00"), mark_of("2026-11-20T12:00:00Z")
    assert earlier is not None
    assert later is not None
    assert earlier.order < later.order


@pytest.mark.parametrize(
    ("cell", "overlap", "value"),
    [
        (10, 3, 7), (Decimal("10.5"), 0.5, 10), (10, 0.5, Decimal("9.5")),
        (NOON, 60, NOON - dt.timedelta(minutes=1)),
        (NOON.date(), 1, dt.date(2026, 11, 19)), (NOON.date(), 86_401, dt.date(2026, 11, 18)),
        ("2026-11-20 12:00:00", 60, "2026-11-20 11:59:00"),
        ("2026-11-20 12:00:00.500", 0.25, "2026-11-20 12:00:00.250"),
        ("2026-11-20T00:00:00-06:00", 1, "2026-11-19T23:59:59-06:00"), ("2026-11-20T12:00Z", 30, "2026-11-20T11:59Z"),
        ("2026-11-20 12:00:00+00", 1, "2026-11-20 11:59:59+00"), ("2026-11-20", 300, "2026-11-19"),
    ],
    ids=str,
)  # fmt: skip
def test_an_overlap_starts_earlier_and_is_written_alike(cell: Any, overlap: float, value: Any) -> None:
    found = Watermark.of(cell).minus(overlap)
    assert (found.value, type(found.value)) == (value, type(value))


def test_no_overlap_before_a_text_or_the_first_day() -> None:
    with pytest.raises(CursorError, match="is a text"):
        Watermark.of("01J8Z").minus(1)
    with pytest.raises(CursorError, match="too early"):
        Watermark.of(dt.datetime(1, 1, 1)).minus(1)


@given(
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2199, 1, 1)),
    st.sampled_from([" ", "T"]),
    st.sampled_from(["", "Z", "+00", "-06:00", "+0530"]),
    st.sampled_from(["minutes", "seconds", "milliseconds", "microseconds"]),
    st.floats(0, 10_000_000),
)
def test_an_overlap_never_starts_later_than_asked(
    moment: dt.datetime, separator: str, offset: str, precision: str, overlap: float
) -> None:
    text = moment.isoformat(separator, precision) + offset
    before = Watermark.of(text)
    found = before.minus(overlap)
    gap = before.mark.order - found.mark.order
    assert dt.timedelta(seconds=overlap) - dt.timedelta(microseconds=1) <= gap
    assert gap <= dt.timedelta(seconds=overlap + 60)
    assert text_shape(found.text) == text_shape(text)


@pytest.mark.parametrize(
    ("text", "like", "found"),
    [
        ("12", None, ("number", "12")), ("2026-11-20", None, ("date", "2026-11-20")),
        ("2026-11-20T12:00Z", None, ("time", "2026-11-20T12:00:00+00:00")),
        ("12", ("number", "7"), ("number", "12")), ("12", ("text", "01"), ("text", "12")),
        ("2026-11-20", ("time", "2026-11-19T12:00:00+00:00"), ("time", "2026-11-20T00:00:00-05:00")),
        ("2026-11-20", ("text_local_time", "2026-11-19 12:00:00"), ("text_local_time", "2026-11-20 00:00:00")),
        ("2026-11-20T12:00Z", ("text_time", "2026-11-19T12:00:00-06:00"), ("text_time", "2026-11-20T06:00:00-06:00")),
        ("2026-11-20T02:00Z", ("local_time", "2026-11-19T12:00:00"), ("local_time", "2026-11-19T21:00:00")),
        ("2026-11-20T12:00Z", ("text_date", "2026-11-19"), ("text_date", "2026-11-20")),
    ],
    ids=str,
)  # fmt: skip
def test_a_person_gives_a_watermark_of_the_present_kind(text: str, like: Any, found: tuple[str, str]) -> None:
    present = None if like is None else Watermark(*like)
    assert parse_watermark(text, present, ZoneInfo("America/Bogota")) == Watermark(*found)


@pytest.mark.parametrize(
    ("text", "like", "words"),
    [
        ("", None, "is empty"),
        ("soon", ("number", "7"), "is no number"),
        ("7", ("time", NOON.isoformat()), "is no time"),
    ],
    ids=["empty", "number", "time"],
)
def test_refuses_a_watermark_of_another_kind(text: str, like: Any, words: str) -> None:
    with pytest.raises(CursorError, match=words):
        parse_watermark(text, None if like is None else Watermark(*like), UTC)
