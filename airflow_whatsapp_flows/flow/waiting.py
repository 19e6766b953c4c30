"""How long a delay lasts, and at which hours it may end."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400}
"""The platform's units of time."""
LONGEST = 365 * SECONDS["DAY"]
"""Maximum seconds of any wait in a flow."""


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Hours of one weekday.

    Attributes:
        weekday: 0 is Monday.
        start: when they begin.
        end: when they are over; ``None`` is the day's end.
    """

    weekday: int
    start: dt.time
    end: dt.time | None


@dataclass(frozen=True, slots=True)
class WaitRule:
    """How long a delay lasts.

    Attributes:
        seconds: its length, where it has no moment to wait for.
        windows: when it may end; at any time when there are none.
        timezone: that of the flow: an IANA name.
    """

    seconds: float = 0.0
    windows: tuple[TimeWindow, ...] = ()
    timezone: str = "UTC"

    def ends(self, reached: dt.datetime, until: dt.datetime | None = None) -> dt.datetime:
        """When a contact goes on.

        Args:
            reached: when the delay was reached; aware.
            until: the moment to wait for instead of the rule's seconds; aware.

        Returns:
            An aware time, never before ``reached``.
        """
        over = max(reached, until) if until is not None else reached + dt.timedelta(seconds=self.seconds)
        return self._open_at(over) if self.windows else over

    def _open_at(self, moment: dt.datetime) -> dt.datetime:
        """The moment itself when a window is open then, else the beginning of the next one."""
        zone = ZoneInfo(self.timezone)
        local = moment.astimezone(zone)
        starts: list[dt.datetime] = []
        # The weekday of today comes again in a week: its window may have been over already.
        for days in range(8):
            day = local.date() + dt.timedelta(days=days)
            for window in self.windows:
                if window.weekday != day.weekday():
                    continue
                start = dt.datetime.combine(day, window.start, zone)
                next_day = dt.datetime.combine(day + dt.timedelta(days=1), dt.time.min, zone)
                end = dt.datetime.combine(day, window.end, zone) if window.end else next_day
                # Aware times of one zone are compared by their clocks; those of UTC also when clocks are changed.
                if start.timestamp() <= moment.timestamp() < end.timestamp():
                    return moment
                if start.timestamp() > moment.timestamp():
                    starts.append(start)
        return min(starts, key=dt.datetime.timestamp).astimezone(dt.timezone.utc)
