"""What the schedule of a flow's replays means for the intervals of their runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from airflow_whatsapp_flows.flow.run_terms import DATE_TERMS, query_terms, source_terms

WITHOUT_CATCHUP = ("@once", "@continuous")
"""Presets that have no times in the past to catch up with."""
QUARTERLY = ("@quarterly", "0 0 1 */3 *")
"""The one preset of Airflow that cron itself lacks."""


def cron_of(schedule: object) -> str | None:
    """Return the part of a schedule that is by time, if it has one.

    Args:
        schedule: as plain data; any part may be invalid.
    """
    found = schedule.get("cron") if isinstance(schedule, Mapping) else schedule
    return found if isinstance(found, str) else None


def catches_up(catchup: object, cron: str | None, source: object, query: object) -> bool:
    """Whether a replay's DAG has a run for each interval, however late.

    Args:
        catchup: of the flow's ``airflow``; by default, a replay that reads its interval leaves none out.
        cron: the part of the schedule that is by time.
        source: of the flow's ``replay``.
        query: of the flow's ``replay``.
    """
    if isinstance(catchup, bool):
        return catchup
    if cron is None or cron in WITHOUT_CATCHUP:
        return False
    used = {
        *(name for name, _ in (source_terms(source) if isinstance(source, str) else ())),
        *(name for name, _ in (query_terms(query) if isinstance(query, str) else ())),
    }
    return not used.isdisjoint(DATE_TERMS)


def is_cron(text: str) -> bool:
    """Whether a text is a cron expression, or a preset for one, that ever occurs.

    Args:
        text: such as ``0 3 * * *`` or ``@daily``.
    """
    if text == QUARTERLY[0]:
        return True
    from croniter import CroniterError, croniter  # type: ignore[import-untyped]  # it has no types

    try:
        croniter(text, dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)).get_next()
    except (CroniterError, ValueError):  # February 30 is valid syntax, but never occurs
        return False
    return True


def not_cron(text: str) -> str:
    """Say that a text is no cron expression, and what is."""
    return f"{text!r} is neither a cron expression such as '0 3 * * *' nor an Airflow preset such as '@daily'"
