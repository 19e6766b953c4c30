"""What the scripts of this folder print at their end."""

from __future__ import annotations

from collections.abc import Sequence


def report(broken: Sequence[str]) -> int:
    """Print the broken promises; return the exit status."""
    for promise in broken:
        print(f"BROKEN: {promise}")
    print("every promise was kept" if not broken else f"{len(broken)} promises broken")
    return int(bool(broken))
