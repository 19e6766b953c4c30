"""``whatsapp-flows replay``: batches of recorded responses."""

from __future__ import annotations

import argparse

from airflow_whatsapp_flows.cli import command_of


def replay(options: argparse.Namespace) -> int:
    """Run one of its commands; return the exit status."""
    return command_of("replay", options.replay_command)(options)
