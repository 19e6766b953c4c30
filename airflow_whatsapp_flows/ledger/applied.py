"""Which attempts count for a replay, and which the server may have carried out: the delivery table, as SQL."""

from __future__ import annotations

from sqlalchemy import ColumnElement, FromClause, and_, between, or_, true

from airflow_whatsapp_flows.flow.delivery.table import (
    CARRIED_OUT_FATES,
    EVENT_OF_FATE,
    TABLE,
    UNKNOWN_FATES,
    Delivery,
    Fate,
)
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.schema import attempts

_APPLIED_FATES = sorted(
    fate.value
    for fate, event in EVENT_OF_FATE.items()
    if fate is not None and TABLE[event][Delivery.AT_MOST_ONCE].applied
)
_CARRIED_OUT_FATES = sorted(fate.value for fate in CARRIED_OUT_FATES if fate is not None)
_UNKNOWN_FATES = sorted(fate.value for fate in UNKNOWN_FATES if fate is not None)


def counts_for(replay: Replay, tried: FromClause = attempts) -> ColumnElement[bool]:
    """Return the condition that an attempt for a response counts for a replay; for a forced one only its own do.

    Args:
        tried: the attempts table, or an alias of it.
    """
    return tried.c.replay_no == replay.no if replay.is_forced else true()


def may_have_been_applied() -> ColumnElement[bool]:
    """Return the condition that the server may have carried out an attempt.

    A rule's own ``slow_down_when`` and ``retry.statuses`` are not stored in columns:
    :func:`~airflow_whatsapp_flows.flow.delivery.decision.may_have_been_applied` evaluates them, and excludes more
    attempts.
    """
    fate = attempts.c.fate
    return or_(fate.is_(None), fate.in_(_APPLIED_FATES), is_suspect_answer())


def is_unknown() -> ColumnElement[bool]:
    """Return the condition that the fate of an attempt is in :data:`UNKNOWN_FATES`."""
    return or_(attempts.c.fate.is_(None), attempts.c.fate.in_(_UNKNOWN_FATES))


def was_carried_out(tried: FromClause = attempts) -> ColumnElement[bool]:
    """Return the condition that the fate of an attempt is in :data:`CARRIED_OUT_FATES`.

    Args:
        tried: the attempts table, or an alias of it.
    """
    return tried.c.fate.in_(_CARRIED_OUT_FATES)


def is_suspect_answer() -> ColumnElement[bool]:
    """Return the condition that an answer handled by an exit leaves open what the server did."""
    status = attempts.c.status_code
    return and_(attempts.c.fate == Fate.ANSWERED.value, or_(status >= 500, status == 408, between(status, 200, 299)))
