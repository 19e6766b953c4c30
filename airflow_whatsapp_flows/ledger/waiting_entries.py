"""Entries that wait for their commit, and what their callers learn of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from airflow_whatsapp_flows.errors import FlowsError
from airflow_whatsapp_flows.ledger.rows import Entry

Then = Callable[["asyncio.Future[None]"], object]
"""Called with the future of a caller as soon as its entry is committed; if it returns true, it takes it over."""


class WaitingEntry(Struct, eq=False):
    """An entry to commit; ``None`` to wait for those before it.

    Attributes:
        entry: what to write.
        done: of its caller; ``None`` if nobody waits.
        then: called as soon as it is committed.
    """

    entry: Entry | None
    done: asyncio.Future[None] | None = None
    then: Then | None = None


def conclude(batch: Sequence[WaitingEntry], refused: Mapping[int, FlowsError]) -> None:
    """Tell the callers what became of their entries.

    Args:
        batch: what was written in one commit.
        refused: why some of the entries were not written, by their ``id()``.
    """
    # Intents come first: their callers hold a slot at the host.
    intents = [one for one in batch if one.then is not None]
    for one in (*intents, *[one for one in batch if one.then is None and one.done is not None]):
        done = one.done
        if done is None or done.done():
            continue
        refusal = refused.get(id(one.entry)) if refused else None
        if refusal is not None:
            done.set_exception(refusal)
            continue
        try:
            if one.then is None or not one.then(done):
                done.set_result(None)
        except Exception as error:
            done.set_exception(error)
