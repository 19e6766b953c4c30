"""What an erasure of personal data erased, kept, and left: the same on the command line and in the pages."""

from __future__ import annotations

from collections.abc import Callable

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.purge import StoredData
from airflow_whatsapp_flows.quantities import plural


def erased_text(held: StoredData) -> str:
    """Return how much was, or would be, erased."""
    return f"{plural(held.contacts, 'contact')} and {plural(held.attempts, 'request')}"


def kept_text(held: StoredData, show: Callable[[str], str], remedy: str) -> str:
    """Return which contacts keep their data, and what to do.

    Args:
        held: what was erased, and what was not.
        show: makes the name of a replay safe to show.
        remedy: what to do there.
    """
    them = "1 contact keeps its data" if held.pending == 1 else f"{held.pending:,} contacts keep their data"
    return f"{them}, because the response is pending in {', '.join(map(show, held.replays))}: {remedy}"


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
