"""``whatsapp-flows ledger find``: everything that was sent to one person."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from airflow_whatsapp_flows.cli.ledger_access import open_ledger
from airflow_whatsapp_flows.cli.tables import moment, plain
from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.identity import EMAIL, PHONE
from airflow_whatsapp_flows.ledger.person_history import Person, SentAttempt, find_sent, get_person
from airflow_whatsapp_flows.quantities import plural

KINDS = (PHONE, EMAIL, "id", "user_id")
"""Identifiers to search for, named as the command-line options."""


def find(options: argparse.Namespace) -> int:
    """Print what was sent, oldest first; return 0, even if nothing was sent."""
    kind, value = identifier_of(options)
    with open_ledger(options) as ledger:
        person = get_person(ledger, kind, value)
        found = list(find_sent(ledger, person)) if person else []
    if options.format == "json":
        print(json.dumps([_as_json(sent) for sent in found], ensure_ascii=False, indent=2))
        return 0
    print(f"{plain(value)}: {_ledger_identifiers(kind, person)}; {plural(len(found), 'request')}")
    for sent in found:
        print(_as_text(sent))
    return 0


def identifier_of(options: argparse.Namespace) -> tuple[str, str]:
    """Return kind and value of the identifier given on the command line.

    Raises:
        ReplayError: no identifier was given.
    """
    for kind in KINDS:
        value = getattr(options, kind, None)
        if value is not None:
            return kind, value
    raise ReplayError("specify a person: --phone, --email, --id, or --user-id")


def _ledger_identifiers(kind: str, person: Person) -> str:
    if not person:
        return "not in the ledger"
    if kind == PHONE:
        spelt = sorted({*person.phones, *(value for _, value, _ in person.identifiers)})
        return f"in the ledger as {', '.join(map(plain, spelt))}"
    kinds = sorted({kind for kind, _, _ in person.identifiers})
    return f"in the ledger as {', '.join(map(plain, kinds))}"


def _as_json(sent: SentAttempt) -> dict[str, Any]:
    value = asdict(sent)
    return {"begun_at": moment(value.pop("begun_at")).replace(" ", "T") + "Z", **value}


def _as_text(sent: SentAttempt) -> str:
    road = f"replay {sent.replay_id}" if sent.replay_id else _run(sent.origin)
    visit = f", visit {sent.visit}" if sent.visit > 1 else ""
    came = "outcome unknown" if sent.fate is None else sent.fate
    status = f" {sent.status_code}" if sent.status_code is not None else ""
    resolved = _resolution(sent.origin)
    lines = [
        f"\n{moment(sent.begun_at)}Z  {sent.method} {sent.host}: {came}{status}{resolved}",
        f"    {sent.flow_id}, {road}, response {sent.response_id}",
        f"    {sent.step}{visit}, attempt {sent.number}, key {sent.key}",
    ]
    if sent.reply is not None:
        lines.append(f"    reply: {sent.reply}")
    return "\n".join("\n" * line.startswith("\n") + plain(line.lstrip("\n")) for line in lines)


def _resolution(origin: Mapping[str, Any]) -> str:
    if "resolved" not in origin:
        return ""
    if origin["resolved"] == "duplicate_accepted":
        was = origin.get("was") or {}
        known = f"answered {was['status_code']}" if was.get("status_code") else "outcome unknown"
        return f" ({known}; sending it again was accepted by {origin.get('by')})"
    return f" (resolved by {origin.get('by')})"


def _run(origin: Mapping[str, Any]) -> str:
    details = ", ".join(f"{name} {value}" for name, value in origin.items() if isinstance(value, (str, int)))
    return f"DAG run ({details})" if details else "DAG run"
