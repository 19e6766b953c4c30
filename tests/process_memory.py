"""Memory of this process, as Linux counts it.

``getrusage`` is unsuitable: a child process inherits its parent's peak as ``ru_maxrss``, so under a large pytest
process its own memory would not count.
"""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
IS_KNOWN = _STATUS.exists()
"""Whether this system tells; only Linux does."""


def read_memory(field: str) -> int:
    """Bytes of a field of ``/proc/self/status``: ``VmRSS`` (resident) or ``VmHWM`` (its peak)."""
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def peak_memory() -> int:
    """The peak of resident bytes since the start of the process or :func:`reset_peak`."""
    return read_memory("VmHWM")


def reset_peak() -> int:
    """Reset the peak; returns the resident bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return read_memory("VmRSS")
