"""How the DAGs of flows are named and tagged, and where the pages are: both link to each other."""

from __future__ import annotations

TAG = "whatsapp"
"""Tag of every DAG of a flow."""
REPLAY_SUFFIX = "__replay"
"""A flow's replay DAG has the flow's id with this suffix."""
PAGES = "/whatsapp-flows"
"""Path of the pages, below that of Airflow."""
