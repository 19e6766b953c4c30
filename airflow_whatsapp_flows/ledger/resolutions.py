"""A person's decision about an attempt, as stored in its ``origin``."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
from sqlalchemy import Row

from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.template.language import Value

LONGEST_EXCHANGE = 3600.0
"""Maximum seconds of a request; a newer attempt of another replay or DAG run may still be in progress."""

RESOLVED = '"resolved":'
"""Text that is in an attempt's ``origin`` if and only if a person resolved it; inside a value, quotes are escaped."""


def origin_with_decision(row: Row[Any], decision: str, by: str) -> str:
    """Return the origin of an attempt, extended by a decision and by the previous outcome.

    Args:
        row: the attempt's current row.
        decision: ``sent``, ``not_sent`` or ``duplicate_accepted``.
        by: who decided.
    """
    origin = json.loads(row.origin) if row.origin else {}
    origin["resolved"] = decision
    origin["at"] = time.time()
    origin["by"] = by
    origin["was"] = {"fate": row.fate, "status_code": row.status_code, "error_kind": row.error_kind}
    return json.dumps(origin, ensure_ascii=False)


def found_result(row: Row[Any], reply: Value) -> str:
    """Return the stored result of an attempt that turned out to be carried out.

    Args:
        row: the attempt's current row.
        reply: the server's reply; ``None`` if unknown.
    """
    result = ActionResult(
        outcome=Outcome.SUCCESS,
        status_code=200,
        response=reply,
        headers={},
        method=row.method,
        url="" if row.result is None else str(json.loads(row.result).get("url") or ""),
        attempts=row.number,
        idempotency_key=row.key,
    )
    return msgspec.json.encode(result.as_value()).decode()
