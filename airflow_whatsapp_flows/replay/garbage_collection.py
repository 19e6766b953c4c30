"""Settings of Python's garbage collector for work on many contacts."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reduce_gc() -> Iterator[None]:
    """Let the garbage collector scan objects of the block, rarely, and nothing that was imported before.

    A contact creates hundreds of small objects, almost none in cycles: with Python's default thresholds the collector
    took a fifth of the time (benchmarks/replay.py).
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
