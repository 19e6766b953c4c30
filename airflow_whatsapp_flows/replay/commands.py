"""Commands for people to copy. The names in them come from others, and none is read as an option."""

from __future__ import annotations

import shlex

_PLACEHOLDERS = ("ID", "RESPONSE")
_LONGEST = 200  # characters of a name


def replay_command(verb: str, *names: str, options: str = "") -> str:
    """Return the words of a command after ``whatsapp-flows``, such as ``replay resolve --as sent -- first r-1``.

    Args:
        verb: of the group ``replay``.
        *names: id of the replay, and of a response; one that cannot be copied is shown as ``ID`` or ``RESPONSE``.
        options: as they are written; they come before the names.
    """
    shown = [place if why_not_copyable(name) else name for place, name in zip(_PLACEHOLDERS, names, strict=False)]
    # What follows "--" is a name, whatever it starts with; also what somebody puts in the place of RESPONSE.
    separator = ["--"] if len(shown) > 1 or shown[0].startswith("-") else []
    return " ".join(["replay", verb, *([options] if options else []), *separator, *map(shlex.quote, shown)])


def why_not_copyable(*names: str) -> str | None:
    """Return why a command with these names is not shown for copying, as a sentence; ``None`` if it can be."""
    if not all(name.isprintable() for name in names):
        return "An id has characters that cannot be seen, so there is no command to copy."
    if any(len(name) > _LONGEST for name in names):
        return f"An id has more than {_LONGEST} characters, too many to show, so there is no command to copy."
    if "--" in names[1:]:
        return "The id -- cannot be an argument of a command."
    return None
