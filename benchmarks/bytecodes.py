"""Python bytecodes per contact of a replay, and per request of the bare loop. The load of the machine doesn't matter.

Fixed costs are subtracted: the figures are the difference between a batch and one of half its size.

    python benchmarks/bytecodes.py [--contacts 400] [--top N]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from benchmarks.bare import bare
from benchmarks.replay import replay, write_responses
from benchmarks.server import running_server

ASKED = 1.5
CONCURRENCY = 32  # counting is slow: connections that are idle for a second would be closed


def count_bytecodes(work: Callable[[], object]) -> Counter[str]:
    """Run a function, and count the bytecodes that all threads execute meanwhile, by function."""
    counted: Counter[CodeType] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            counted[frame.f_code] += 1
        return count

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return count(frame, event, argument)

    threading.settrace(enter)
    sys.settrace(enter)
    try:
        work()
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
    by_name: Counter[str] = Counter()
    for code, number in counted.items():
        by_name[_name(code)] += number
    return by_name


def _name(code: CodeType) -> str:
    name = getattr(code, "co_qualname", code.co_name)  # from Python 3.11 on
    return f"{'/'.join(Path(code.co_filename).parts[-3:])} {name}"


def bytecodes_per_contact(url: str, folder: Path, contacts: int) -> tuple[Counter[str], Counter[str]]:
    """Count for the replay and for the bare loop, by function, for ``contacts`` contacts beyond as many others."""

    def replay_of(size: int) -> Counter[str]:
        responses = folder / f"{size}.jsonl"
        write_responses(responses, size)
        return count_bytecodes(lambda: replay(url, responses, f"sqlite:///{folder / f'{size}.db'}", CONCURRENCY))

    def bare_of(size: int) -> Counter[str]:
        return count_bytecodes(lambda: bare(url, size, CONCURRENCY))

    replay_of(8)  # what happens only once, such as imports and caches
    bare_of(8)
    ours, theirs = replay_of(2 * contacts), bare_of(2 * contacts)
    ours.subtract(replay_of(contacts))
    theirs.subtract(bare_of(contacts))
    return ours, theirs


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--contacts", type=int, default=400)
    options.add_argument("--top", type=int, default=0, metavar="N", help="also print the N functions that execute most")
    chosen = options.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-", dir="/var/tmp") as name,
        running_server(0) as url,
    ):
        ours, theirs = bytecodes_per_contact(url, Path(name), chosen.contacts)
    each, plain = ours.total() / chosen.contacts, theirs.total() / chosen.contacts
    print(f"bytecodes per contact: {each:,.0f}; bare loop: {plain:,.0f}; ratio {each / plain:.2f} (asked <= {ASKED})")
    for name, counted in ours.most_common(chosen.top):
        print(f"  {counted / chosen.contacts:8,.0f}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
