"""Confirmation of actions that cannot be undone."""

from __future__ import annotations

import sys


def agreed(question: str, otherwise: str) -> bool:
    """Ask on the terminal; without a terminal the answer is no.

    Args:
        question: such as ``Erase it?``.
        otherwise: text to print if the answer is no.
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
