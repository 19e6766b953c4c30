"""How the DAGs of flows are named and tagged: the DAG factory builds them, and the pages find them."""

from __future__ import annotations

TAG = "whatsapp"
"""Tag of every DAG of a flow."""
REPLAY_SUFFIX = "__replay"
"""A flow's replay DAG has the flow's id with this suffix."""
