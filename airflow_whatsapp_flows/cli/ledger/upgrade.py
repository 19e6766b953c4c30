"""``whatsapp-flows ledger upgrade``: upgrades a ledger of an earlier release."""

from __future__ import annotations

import argparse

from airflow_whatsapp_flows.cli import UNFINISHED
from airflow_whatsapp_flows.cli.ledger_access import ledger_url
from airflow_whatsapp_flows.ledger.engine import display_url, read_url
from airflow_whatsapp_flows.ledger.schema import SCHEMA_VERSION
from airflow_whatsapp_flows.ledger.upgrade import check_version, found_version, upgrade_command
from airflow_whatsapp_flows.ledger.upgrade import upgrade as upgrade_ledger


def upgrade(options: argparse.Namespace) -> int:
    """Upgrade the ledger, or only check it; return 0, or 3 if a check finds that an upgrade is needed."""
    url = ledger_url(options)
    shown = display_url(read_url(url))
    if options.check:
        found = found_version(url)
        if 0 < found < SCHEMA_VERSION:
            print(f"the ledger {shown} has version {found}; version {SCHEMA_VERSION} is needed")
            print(f"run `{upgrade_command(shown)}`")
            return UNFINISHED
        check_version(found, shown)
        print(f"the ledger {shown} has version {found}, which is current")
        return 0
    done = upgrade_ledger(url)
    if done.found == done.version:
        print(f"the ledger {shown} has version {done.version}, which is current; nothing to do")
        return 0
    print(f"the ledger {shown} was upgraded from version {done.found} to {done.version}; no data was lost")
    if done.backup is not None:
        print(f"a copy from before the upgrade is in {done.backup}")
    return 0
