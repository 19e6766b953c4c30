"""Which of several options an answer means, as people write it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# U+FE0E and U+FE0F choose how an emoji is drawn, U+20E3 draws a key around a digit: people see no other sign.
_UNSEEN = re.compile("[\ufe0e\ufe0f\u20e3\u200b\u200d\u2060]")
_NUMBER = re.compile(r"[0-9]{1,4}")
_KEYCAP_TEN = "\U0001f51f"


def find_option(options: Sequence[str], answer: str) -> int | None:
    """The position of the option that an answer means; ``None`` when it means none.

    An option is meant by its own text, first as it is and then without regard to case, blanks around it, width and
    emoji variants; else by its number from 1, as the platform shows menus of numbers and emojis. Where an option is a
    number itself, numbers are texts.

    Args:
        options: their texts, in the order in which the contact sees them.
        answer: what was answered.
    """
    wanted = answer.strip()
    for position, option in enumerate(options):
        if option.strip() == wanted:
            return position
    folded = {_fold(option): position for position, option in enumerate(options)}
    meant = _fold(wanted)
    if meant in folded:
        return folded[meant]
    if _NUMBER.fullmatch(meant) and not any(_NUMBER.fullmatch(option) for option in folded):
        number = int(meant)
        return number - 1 if 0 < number <= len(options) else None
    return None


def _fold(text: str) -> str:
    text = text.replace(_KEYCAP_TEN, "10")
    seen = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    return unicodedata.normalize("NFKC", " ".join(seen.split()).casefold()) or text
