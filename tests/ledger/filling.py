"""Ledgers with replays, contacts, and attempts, created without sending anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, null, select, update

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger import ContactEnd, ContactState, Intent, Ledger, Subject
from airflow_whatsapp_flows.ledger.attempts import group_by_type, write_entries
from airflow_whatsapp_flows.ledger.identifiers import add_identifiers
from airflow_whatsapp_flows.ledger.records import ResponseRecord, read_records
from airflow_whatsapp_flows.ledger.replays import Replay, create_replay, find_replay
from airflow_whatsapp_flows.ledger.schema import attempts, chunks, contacts, counts
from airflow_whatsapp_flows.replay.snapshot import Snapshot
from airflow_whatsapp_flows.replay.sources import Row

FLOW_ID = "lead"
FLOW: dict[str, Any] = {
    "flow_format": 1,
    "id": FLOW_ID,
    "steps": [
        {"name": "Create", "type": "action", "url": "https://crm.example/v1/x", "on_error": "Tell"},
        {"name": "Tell", "type": "action", "url": "https://crm.example/v1/tell", "on_success": "Failed"},
        {"name": "Failed", "type": "end", "state": "failed"},
    ],
}


def response(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"r-{number}", "contact": {"phone": f"+5255{number:08d}"}, "step": {"Ask name": "Ana"}, **more}


def a_replay(
    ledger: Ledger,
    values: Iterable[Mapping[str, Any] | None],
    replay_id: str = "first",
    chunk_size: int = 1000,
    *,
    force: bool = False,
    flow: Mapping[str, Any] = FLOW,
) -> Replay:
    """A sealed replay of these responses; ``None`` is a rejected row."""
    rows = [
        Row(number, f"x:{number}", value, None if value is not None else "not_json: no")
        for number, value in enumerate(values, start=1)
    ]
    replay = create_replay(ledger, replay_id, flow["id"], json.dumps(flow), ("x", None), options={"force": force})
    Snapshot(ledger, replay, chunk_size, force).take(rows)
    found = find_replay(ledger, replay_id)
    assert found is not None
    return found


def rows_of(ledger: Ledger, replay: Replay) -> list[Any]:
    with ledger.read() as connection:
        query = select(contacts).where(contacts.c.replay_no == replay.no).order_by(contacts.c.id)
        return list(connection.execute(query).all())


def states_of(ledger: Ledger, replay: Replay) -> list[str]:
    return [row.state for row in rows_of(ledger, replay)]


def end(
    ledger: Ledger, replay: Replay, states: Sequence[ContactState], *, at: float = 1000.0, **more: Any
) -> list[int]:
    """End the contacts of a replay in source order; returns their numbers."""
    ids = [row.id for row in rows_of(ledger, replay)]
    with ledger.write() as connection:
        ends = [
            ContactEnd(id_, state, "why", at, **{"path": '["Create"]', **more})
            for id_, state in zip(ids, states, strict=False)
        ]
        write_entries(connection, group_by_type(ends))
        forget_counts(connection)
    return ids


def forget_counts(connection: Connection) -> None:
    """Delete the stored counts, as the claim does that comes before every other write."""
    connection.execute(update(chunks).values(requests=null()))
    connection.execute(delete(counts))


def attempt(ledger: Ledger, response_id: str, fate: Fate | None, replay: Replay | None = None, **more: Any) -> int:
    """Write an attempt; returns its number."""
    known = more.pop("identifiers", ())
    values = {
        "response_id": response_id, "flow_id": FLOW_ID, "step": "Create", "visit": 1, "key": f"key-{response_id}",
        "number": 1, "digest": "d", "method": "POST", "host": "crm:443", "moment": 900.0, "begun_at": 901.0,
        "replay_no": replay.no if replay else None, "round": 1, "fate": fate.value if fate else None, **more,
    }  # fmt: skip
    with ledger.write() as connection:
        add_identifiers(connection, values["flow_id"], [(response_id, known)])
        forget_counts(connection)
        return int(connection.execute(insert(attempts).values(values).returning(attempts.c.id)).scalar_one())


def attempts_of(ledger: Ledger, response_id: str) -> list[Any]:
    with ledger.read() as connection:
        query = select(attempts).where(attempts.c.response_id == response_id).order_by(attempts.c.id)
        return list(connection.execute(query).all())


def record_of(connection: Connection, subject: Subject, replay_no: int | None, round_: int) -> ResponseRecord:
    """The recorded attempts of one subject."""
    rounds = {subject.response_id: (replay_no, round_)}
    return (
        read_records(connection, subject.flow_id, rounds, StepIdentities()).get(subject.response_id) or ResponseRecord()
    )


def change(ledger: Ledger, contact: int, **values: Any) -> None:
    with ledger.write() as connection:
        connection.execute(update(contacts).where(contacts.c.id == contact).values(**values))
        forget_counts(connection)


def result(response: Any = None, **more: Any) -> str:
    return json.dumps({"outcome": "success", "status_code": 201, "response": response, "url": "/v1/x", **more})


def intent(response_id: str, **more: Any) -> Intent:
    values: dict[str, Any] = {
        "subject": Subject(FLOW_ID, response_id), "step": "Create", "visit": 1, "key": f"key-{response_id}",
        "number": 1, "digest": "d", "method": "POST", "host": "crm:443", "moment": 900.0, "begun_at": 901.0,
    }  # fmt: skip
    return Intent(**{**values, **more})
