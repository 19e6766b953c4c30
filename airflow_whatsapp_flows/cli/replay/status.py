"""``whatsapp-flows replay status``: the progress of a replay."""

from __future__ import annotations

import argparse
import json

from airflow_whatsapp_flows.cli.ledger_access import open_ledger
from airflow_whatsapp_flows.cli.replay.summary import status_json, summary_of, summary_text
from airflow_whatsapp_flows.replay.status import get_replay


def status(options: argparse.Namespace) -> int:
    """Print the status; return 0."""
    with open_ledger(options) as ledger:
        summary = summary_of(ledger, get_replay(ledger, options.id), options)
        shown = ledger.display_url
    if options.format == "json":
        print(json.dumps(status_json(summary), ensure_ascii=False))
    else:
        print(f"ledger {shown}\n{summary_text(summary)}")
    return 0
