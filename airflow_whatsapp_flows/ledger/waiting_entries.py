"""Entries that wait for their commit, and what their callers learn of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from airflow_whatsapp_flows.errors import FlowsError
from airflow_whatsapp_flows.ledger.rows import Entry


class WaitingEntry(NamedTuple):
    """An entry to commit; ``None`` to wait for those before it.

    Attributes:
        entry: what to write.
        done: of its caller; ``None`` if nobody waits.
        then: called as soon as it is committed.
    """

    entry: Entry | None
    done: asyncio.Future[None] | None = None
    then: Callable[[], None] | None = None


def conclude(batch: Sequence[WaitingEntry], refused: Mapping[int, FlowsError]) -> None:
    """Tell the callers what became of their entries.

    Args:
        batch: what was written in one commit.
        refused: why some of the entries were not written, by their ``id()``.
    """
    # Intents come first: their callers hold a slot at the host.
    for one in sorted(batch, key=lambda one: one.then is None):
        if one.done is None or one.done.done():
            continue
        refusal = refused.get(id(one.entry))
        if refusal is not None:
            one.done.set_exception(refusal)
            continue
        try:
            if one.then is not None:
                one.then()
        except Exception as error:
            one.done.set_exception(error)
        else:
            one.done.set_result(None)
