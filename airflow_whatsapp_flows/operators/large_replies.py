"""What is not for XCom: replies that are too large or sensitive stay in the ledger, and long texts are cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.hooks.action import provider_settings
from airflow_whatsapp_flows.hooks.ledger import task_ledger
from airflow_whatsapp_flows.ledger.rows import Subject
from airflow_whatsapp_flows.ledger.task_store import TaskLedger
from airflow_whatsapp_flows.operators.action_output import LARGE

IN_LEDGER = "in_ledger"
"""A key next to ``response``, not inside it: a server's reply must not be mistaken for a reference."""
_LONGEST_ESCAPE = 16  # bytes of one character in an XCom, and some for what stands beside the text


def cut_for_xcom(text: str, max_bytes: int) -> str:
    """Cut a text so that an XCom with it has no more bytes, whatever characters it contains."""
    return text[: max_bytes // _LONGEST_ESCAPE]


def fit_for_xcom(value: dict[str, Value], subject: Subject, max_bytes: int) -> dict[str, Value]:
    """Limit a result to the maximum size in XCom.

    Args:
        value: the result, as plain data.
        subject: its owner in the ledger.
        max_bytes: maximum size of its JSON, as Airflow stores it; 0 to keep the reply out of XCom.

    Returns:
        The same result, or one whose ``response`` is ``None`` and whose ``in_ledger`` refers to the attempt that has
        it.
    """
    if len(json.dumps(value)) <= max_bytes:
        return value
    reference: Value = {
        "flow_id": subject.flow_id,
        "response_id": subject.response_id,
        "key": value["idempotency_key"],
        "number": value["attempts"],
    }
    small = {**value, "response": None, IN_LEDGER: reference}
    return small if len(json.dumps(small)) <= max_bytes else {**small, "headers": {}}


def whole(value: Any, ledger: Callable[[], TaskLedger], may_read: Callable[[Subject], bool]) -> Any:
    """Add the reply to a result, from the ledger if needed; other values are returned unchanged.

    Args:
        value: what came out of XCom.
        ledger: opens the ledger; called only when the reply is there.
        may_read: whether a result is the reader's to read: data may say anything.

    Raises:
        RenderError: the reply is no longer in the ledger.
        LedgerError: the ledger cannot be read.
    """
    reference = value.get(IN_LEDGER) if isinstance(value, Mapping) else None
    if not isinstance(reference, Mapping) or "outcome" not in value:
        return value
    subject = Subject(str(reference.get("flow_id")), str(reference.get("response_id")))
    kept = _read_stored_reply(ledger(), subject, reference) if may_read(subject) else None
    if kept is None:
        raise RenderError("the reply of an action was too large for XCom, and is no longer in the ledger")
    rest = {key: item for key, item in value.items() if key != IN_LEDGER}
    return {**rest, **{key: kept[key] for key in LARGE}}


def read_whole(result: Any) -> Any:
    """Add the reply to a result of the same DAG run, from the configured ledger; see :func:`whole`."""
    return whole(result, lambda: task_ledger(provider_settings()), lambda _: True)


def whole_scopes(scopes: Any, ledger: Callable[[], TaskLedger], may_read: Callable[[Subject], bool]) -> Any:
    """Add the reply to each result in values by scope; values inside replies and answers are not searched.

    Args:
        scopes: ``{"step": {"name": value}}``.
        ledger: as for :func:`whole`.
        may_read: as for :func:`whole`.

    Raises:
        RenderError: a reply is no longer in the ledger.
        LedgerError: the ledger cannot be read.
    """
    if not isinstance(scopes, Mapping):
        return scopes
    return {
        scope: {name: whole(value, ledger, may_read) for name, value in values.items()}
        if isinstance(values, Mapping)
        else values
        for scope, values in scopes.items()
    }


def _read_stored_reply(ledger: TaskLedger, subject: Subject, reference: Mapping[str, Any]) -> Any:
    with ledger.transaction() as transaction:
        rows = transaction.attempts(subject)
    wanted = (reference.get("key"), reference.get("number"))
    found = next((row.result for row in rows if (row.key, row.number) == wanted), None)
    return None if found is None else json.loads(found)
