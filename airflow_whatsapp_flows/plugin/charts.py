"""Small charts on the pages: how many contacts ended when, and how many of them with an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airflow_whatsapp_flows.ledger.ended_contacts import WITHOUT_ERROR, EndedContacts

_MOST_BARS = 60
_WIDTHS = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60,
    120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000,
)  # fmt: skip
"""Seconds that a bar may stand for."""
_UNITS = (("days", 86_400), ("h", 3600), ("min", 60))
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        good: contacts that completed, or were skipped.
        bad: contacts with an error.
    """

    good: float
    bad: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Contacts that ended, over time.

    Attributes:
        bars: oldest first.
        seconds: that a bar stands for.
        start: epoch seconds; where the first bar begins.
        end: epoch seconds; where the last one ends.
    """

    bars: Sequence[Bar]
    seconds: float
    start: float
    end: float

    @property
    def peak(self) -> float:
        """The highest number of contacts in one bar."""
        return max((bar.good + bar.bad for bar in self.bars), default=0.0)

    @property
    def total(self) -> int:
        """All contacts."""
        return round(sum(bar.good + bar.bad for bar in self.bars))

    @property
    def bad(self) -> int:
        """All contacts with an error."""
        return round(sum(bar.bad for bar in self.bars))

    @property
    def error_rate(self) -> str:
        """The share of contacts with an error, such as ``2.5 %``."""
        share = 100 * self.bad / self.total if self.total else 0.0
        return f"{share:.0f} %" if share >= 10 or not self.bad else f"{max(share, 0.1):.1f} %"

    @property
    def last_bar(self) -> Chart:
        """The last bar alone."""
        return Chart(self.bars[-1:], self.seconds, self.end - self.seconds, self.end)

    @property
    def width(self) -> str:
        """How long a bar is, such as ``10 s``."""
        for unit, size in _UNITS:
            if self.seconds >= size:
                return f"{self.seconds / size:,.0f} {unit}"
        return f"{self.seconds:g} s"


def chart_over_time(ended: Iterable[EndedContacts]) -> Chart | None:
    """Draw when contacts ended; ``None`` if they all ended at about the same time, or none has."""
    known = [one for one in ended if one.number]
    if not known:
        return None
    start, end = min(one.first for one in known), max(one.last for one in known)
    if end - start < 1:
        return None
    seconds = next((width for width in _WIDTHS if (end - start) / width < _MOST_BARS), (end - start) / _MOST_BARS)
    number = min(int((end - start) / seconds), _MOST_BARS - 1) + 1
    good, bad = [0.0] * number, [0.0] * number
    for one in known:
        _spread(one, good if one.state in WITHOUT_ERROR else bad, start, seconds)
    return Chart([Bar(*pair) for pair in zip(good, bad, strict=True)], seconds, start, start + number * seconds)


def _spread(one: EndedContacts, bars: list[float], start: float, seconds: float) -> None:
    """Add contacts to the bars between the first and the last of them, evenly."""
    first = min(int((one.first - start) / seconds), len(bars) - 1)
    last = min(int((one.last - start) / seconds), len(bars) - 1)
    if first == last:
        bars[first] += one.number
        return
    each = one.number / (one.last - one.first)
    for number in range(first, last + 1):
        begin, end = start + number * seconds, start + (number + 1) * seconds
        inside = min(end, one.last) - max(begin, one.first) if number < last else one.last - max(begin, one.first)
        bars[number] += each * max(0.0, inside)


def chart_of_week(days: Sequence[tuple[int, int]], end: float) -> Chart:
    """Draw the contacts of the last days, oldest first: those without and with an error."""
    return Chart([Bar(*day) for day in days], DAY, end - DAY * len(days), end)
