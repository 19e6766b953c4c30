"""``whatsapp-flows ledger purge``: erases personal data; keys, states and times remain."""

from __future__ import annotations

import argparse
import sys

from airflow_whatsapp_flows.cli import REFUSED, UNFINISHED
from airflow_whatsapp_flows.cli.ledger.confirmation import agreed
from airflow_whatsapp_flows.cli.ledger.find import identifier_of, person_of
from airflow_whatsapp_flows.cli.ledger_access import open_ledger
from airflow_whatsapp_flows.cli.tables import plain
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.purge import DataSelection, StoredData, find_data
from airflow_whatsapp_flows.ledger.purge import purge as erase
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.status import get_replay


def purge(options: argparse.Namespace) -> int:
    """Erase the data after confirmation; return 0, 3 if pending contacts keep their data, or 1 if not confirmed."""
    with open_ledger(options) as ledger:
        data = _data(ledger, options)
        held = find_data(ledger, data)
        print(f"{_counts(held)} in the ledger {ledger.display_url} contain this data")
        if held.contacts or held.attempts:
            if not (options.yes or agreed("Erase it? This cannot be undone.", "nothing was erased")):
                return REFUSED
            held, gone = erase(ledger, data)
            print(f"erased: {_counts(held)}; keys, states, and times were kept")
            print(_remains(ledger, gone=gone))
    if held.pending:
        print(_pending_text(held), file=sys.stderr)
        return UNFINISHED
    return 0


def _data(ledger: Ledger, options: argparse.Namespace) -> DataSelection:
    if options.replay is not None:
        return DataSelection(replay_no=get_replay(ledger, options.replay).no)
    if options.before is not None:
        return DataSelection(before=options.before)
    return DataSelection(person=person_of(ledger, *identifier_of(options)))


def _counts(held: StoredData) -> str:
    return f"{plural(held.contacts, 'contact')} and {plural(held.attempts, 'request')}"


def _remains(ledger: Ledger, *, gone: bool) -> str:
    if not ledger.is_sqlite:
        return "the server keeps old rows until VACUUM: to remove the data from its files, run VACUUM FULL"
    copies = (
        "older copies of rows may remain in unused parts of the file: run `whatsapp-flows ledger vacuum` to rewrite it"
    )
    if gone:
        return copies
    return (
        "another process is reading the ledger, so its write-ahead log still contains the data: close that "
        f"process; then {copies}"
    )


def _pending_text(held: StoredData) -> str:
    names = ", ".join(plain(name) for name in held.replays)
    return (
        f"{plural(held.pending, 'contact')} keep their data, because they are pending in {names}: let these replays "
        "finish (`whatsapp-flows replay retry ID`), and purge again"
    )
