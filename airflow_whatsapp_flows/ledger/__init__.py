"""The ledger: a record of every request that was intended and sent, and of its reply, in SQLite or PostgreSQL.

::

    with Ledger("sqlite:////srv/airflow/whatsapp_flows.db") as ledger:
        async with Journal(ledger) as journal:
            await journal.add(intent)   # committed; now the request may be sent
"""

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.journal import Journal
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, ContactEnd, ContactState, Intent, Subject

__all__ = ["AttemptEnd", "ContactEnd", "ContactState", "Intent", "Journal", "Ledger", "Subject"]
