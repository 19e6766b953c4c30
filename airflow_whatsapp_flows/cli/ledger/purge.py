"""``whatsapp-flows ledger purge``: erases personal data; keys, states and times remain."""

from __future__ import annotations

import argparse
import sys

from airflow_whatsapp_flows.cli import REFUSED, UNFINISHED
from airflow_whatsapp_flows.cli.ledger.confirmation import agreed
from airflow_whatsapp_flows.cli.ledger.find import identifier_of
from airflow_whatsapp_flows.cli.ledger_access import open_ledger, user_name
from airflow_whatsapp_flows.cli.tables import plain
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.person_history import get_person
from airflow_whatsapp_flows.ledger.purge import DataSelection, find_data
from airflow_whatsapp_flows.ledger.purge import purge as erase
from airflow_whatsapp_flows.replay.erasure import copies_text, erased_text, kept_text
from airflow_whatsapp_flows.replay.status import get_replay

_REMEDY = "let it be sent there (`whatsapp-flows replay retry ID`), and purge again"


def purge(options: argparse.Namespace) -> int:
    """Erase the data after confirmation; return 0, 3 if pending contacts keep their data, or 1 if not confirmed."""
    with open_ledger(options) as ledger:
        data = _data(ledger, options)
        held = find_data(ledger, data)
        print(f"{erased_text(held)} in the ledger {ledger.display_url} contain this data")
        if held.contacts or held.attempts:
            if not (options.yes or agreed("Erase it? This cannot be undone.", "nothing was erased")):
                return REFUSED
            held, gone = erase(ledger, data, user_name())
            print(f"erased: {erased_text(held)}; keys, states, and times were kept")
            print(copies_text(ledger, gone=gone))
    if held.pending:
        print(kept_text(held, plain, _REMEDY), file=sys.stderr)
        return UNFINISHED
    return 0


def _data(ledger: Ledger, options: argparse.Namespace) -> DataSelection:
    if options.replay is not None:
        return DataSelection(replay_no=get_replay(ledger, options.replay).no)
    if options.before is not None:
        return DataSelection(before=options.before)
    return DataSelection(person=get_person(ledger, *identifier_of(options)))
