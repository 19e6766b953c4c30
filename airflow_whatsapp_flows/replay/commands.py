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
    shown = [
        placeholder if _fault_of(place, name) else name
        for place, (placeholder, name) in enumerate(zip(_PLACEHOLDERS, names, strict=False))
    ]
    # What follows "--" is a name, whatever it starts with; also what somebody puts in the place of RESPONSE.
    separator = ["--"] if len(shown) > 1 or shown[0].startswith("-") else []
    return " ".join(["replay", verb, *([options] if options else []), *separator, *map(shlex.quote, shown)])


def why_not_copyable(*names: str) -> str | None:
    """Return why a command with these names is not shown for copying, as a sentence; ``None`` if it can be."""
    return next((fault for place, name in enumerate(names) if (fault := _fault_of(place, name)) is not None), None)


def _fault_of(place: int, name: str) -> str | None:
    if not name.isprintable():
        return "An id has characters that cannot be seen, so there is no command to copy."
    if len(name) > _LONGEST:
        return f"An id has more than {_LONGEST} characters, too many to show, so there is no command to copy."
    if name == "--" and place > 0:  # the command line drops a second one
        return "The id -- cannot be an argument of a command."
    return None
