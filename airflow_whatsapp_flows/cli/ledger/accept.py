"""``whatsapp-flows ledger accept``: accepts a ledger file that is not the expected one."""

from __future__ import annotations

import argparse
from pathlib import Path

from airflow_whatsapp_flows.cli import REFUSED
from airflow_whatsapp_flows.cli.ledger.confirmation import agreed
from airflow_whatsapp_flows.cli.ledger_access import ledger_url
from airflow_whatsapp_flows.ledger.acceptance import accept as accept_file
from airflow_whatsapp_flows.ledger.engine import display_url, read_url
from airflow_whatsapp_flows.ledger.marks import read_mark
from airflow_whatsapp_flows.quantities import plural


def accept(options: argparse.Namespace) -> int:
    """Accept the file after confirmation; return 0, or 1 if it was not confirmed."""
    url = read_url(ledger_url(options))
    shown = display_url(url)
    if url.get_backend_name() != "sqlite":
        print(f"the ledger {shown} is on a server, not in a file: there is nothing to accept")
        return 0
    file = Path(url.database or "")
    mark = read_mark(file)
    made = f"{plural(mark.commits, 'commit')} were made to it" if mark else "nothing is known about it here"
    print(f"the ledger {shown}: {made}; requests that the file has no record of may be sent again")
    if not (options.yes or agreed("Continue with the current file?", "nothing was accepted")):
        return REFUSED
    done = accept_file(file, Path(options.lost) if options.lost else None)
    if not done.commits:
        print("accepted: there is no file; the next replay or task creates an empty ledger")
        return 0
    added = f"; {plural(done.added, 'lost request')} added" if options.lost else ""
    print(f"accepted: the file has {plural(done.commits, 'commit')}{added}")
    return 0
