"""What an erasure of personal data erased, kept, and left: the same on the command line and in the pages."""

from __future__ import annotations

from airflow_whatsapp_flows.flow.reply.excerpt import escape_unprintable
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.purge import StoredData
from airflow_whatsapp_flows.quantities import plural


def erased_text(held: StoredData) -> str:
    """Return how much was, or would be, erased."""
    return f"{plural(held.contacts, 'contact')} and {plural(held.attempts, 'request')}"


def kept_text(held: StoredData) -> str:
    """Return which contacts keep their data, and what to do."""
    names = ", ".join(map(escape_unprintable, held.replays))
    return (
        f"{plural(held.pending, 'contact')} keep their data, because they are pending in {names}: let these replays "
        "finish (`whatsapp-flows replay retry ID`), and purge again"
    )


def copies_text(ledger: Ledger, *, gone: bool) -> str:
    """Return where older copies of erased rows may remain, and what to do.

    Args:
        ledger: the ledger.
        gone: whether they are also gone from an SQLite ledger's write-ahead log.
    """
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
