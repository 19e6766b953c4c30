"""The worker processes of ``whatsapp-flows replay run``: how many there are, and how they are started."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace

from airflow_whatsapp_flows.cli.replay.settings import Prepared
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.workers.messages import Assignment, plain_settings
from airflow_whatsapp_flows.replay.workers.supervisor import Supervisor

_START = "import sys; sys.path[:] = {path!r}; from airflow_whatsapp_flows.cli.replay.worker import main; main()"

_FEW_CONTACTS = 2_000
"""With fewer contacts than this, starting other processes takes longer than they save."""
_LEAST_CONCURRENCY = 8
"""A worker with less would commit a few rows at a time."""


def count_workers(prepared: Prepared, pending: int, chunks: int) -> int:
    """Return the number of processes that send.

    Args:
        prepared: how to send.
        pending: number of pending contacts.
        chunks: number of chunks that have any; a chunk has one owner.
    """
    count, concurrency = prepared.workers, prepared.run.concurrency
    if isinstance(count, str):
        count = 1 if pending < _FEW_CONTACTS else min(_count_processors(), concurrency // _LEAST_CONCURRENCY)
    return max(1, min(count, chunks, concurrency))


def _count_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers_of(ledger: Ledger, replay: Replay, flow: Flow, prepared: Prepared, settings: RunSettings) -> Supervisor:
    """Return the workers of a command.

    Args:
        replay: a sealed replay.
        prepared: how to send.
        settings: settings of the whole run.
    """
    sending = prepared.request_sender.settings
    settings = replace(settings, reconnect_timeout=settings.reconnect_seconds(sending))

    def assign(share: RunSettings) -> Assignment:
        text = json.dumps(flow.source, ensure_ascii=False)
        return Assignment(ledger.url, replay.id, text, dict(prepared.connections), sending, plain_settings(share))

    # With -m or a file, a folder that the user did not choose would come first in the path.
    return Supervisor(ledger, replay, settings, assign, ["-c", _START.format(path=sys.path)])
