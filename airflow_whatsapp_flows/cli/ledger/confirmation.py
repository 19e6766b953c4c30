"""Asking whether something is meant that cannot be undone."""

from __future__ import annotations

import sys


def agreed(question: str, otherwise: str) -> bool:
    """Ask on a terminal; where nobody can be asked, nobody agrees.

    Args:
        question: such as ``Erase it?``.
        otherwise: what is said when the answer is no.
    """
    if not sys.stdin.isatty():
        print(f"{otherwise}: use --yes if nobody can answer the prompt", file=sys.stderr)
        return False
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    print(otherwise, file=sys.stderr)
    return False
