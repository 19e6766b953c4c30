"""File descriptors as a limit: how many connections a process may open, and waiting for one."""

from __future__ import annotations

import logging
import os
import resource
from contextlib import suppress

_log = logging.getLogger(__name__)

_SPARE = 16  # for the ledger's files, name lookups and what else is opened while a batch runs


def bound_concurrency(concurrency: int) -> int:
    """The concurrency, or as many requests as this process has free file descriptors for; then a warning is logged."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return concurrency
    room = max(1, limit - _count_open() - _SPARE)
    if room < concurrency:
        text = "%d requests may be under way at a time instead of %d: this process may open %d files (ulimit -n)"
        _log.warning(text, room, concurrency, limit)
    return min(room, concurrency)


def _count_open() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))
    return _SPARE
