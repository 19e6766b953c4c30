"""Estimates the width of text and breaks it into lines, without knowing the font."""

from __future__ import annotations

import unicodedata

_NARROW = frozenset("iljtfrI.,:;|!'()[]{}/\\ -`\"")
_BROAD = frozenset("mwMW@%&—…<>=+~#^")
_JOINERS = "\u200c\u200d\u2060\ufe0e\ufe0f"
_ZERO_WIDTH_JOINER = "\u200d"
_ELLIPSIS = "…"


def width_of(text: str, size: float) -> float:
    """Estimate the width of a text in a common sans-serif font, in pixels, rounded up generously.

    Args:
        text: one line.
        size: font size in pixels.
    """
    return sum(_em(glyph[0]) for glyph in _glyphs(text)) * size


def _glyphs(text: str) -> list[str]:
    """Split a text into characters with their combining marks."""
    glyphs: list[str] = []
    for character in text:
        joined = unicodedata.combining(character) or character in _JOINERS
        if glyphs and (joined or glyphs[-1].endswith(_ZERO_WIDTH_JOINER)):
            glyphs[-1] += character
        else:
            glyphs.append(character)
    return glyphs


def _em(character: str) -> float:
    if unicodedata.combining(character) or character in _JOINERS:
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in _NARROW:
        return 0.36
    if character in _BROAD:
        return 0.95
    return 0.70 if character.isupper() else 0.58


def wrap_text(text: str, size: float, width: float, lines: int) -> list[str]:
    """Break a text into lines of limited width; the last line ends with an ellipsis if the text is longer.

    Args:
        text: text without line breaks.
        size: font size in pixels.
        width: maximum width of a line in pixels.
        lines: maximum number of lines.
    """
    done: list[str] = []
    line = ""
    for word in _words(text, size, width):
        longer = f"{line} {word}" if line and word[:1] != "\n" else line + word.removeprefix("\n")
        if line and width_of(longer, size) > width:
            done.append(line)
            line = word.removeprefix("\n")
        else:
            line = longer
    done.append(line)
    if len(done) <= lines:
        return done
    return [*done[: lines - 1], _cut(f"{done[lines - 1]}{_ELLIPSIS}", size, width)]


def _words(text: str, size: float, width: float) -> list[str]:
    """Split a text into words, and words wider than a line into parts; a continuing part starts with a line break."""
    words: list[str] = []
    for word in text.split(" "):
        part, first = "", True
        for glyph in _glyphs(word):
            if part and width_of(part + glyph, size) > width:
                words.append(part if first else f"\n{part}")
                part, first = "", False
            part += glyph
        words.append(part if first else f"\n{part}")
    return words


def _cut(line: str, size: float, width: float) -> str:
    glyphs = _glyphs(line)
    while len(glyphs) > 1 and width_of("".join(glyphs), size) > width:
        del glyphs[-2]
    return "".join(glyphs)
