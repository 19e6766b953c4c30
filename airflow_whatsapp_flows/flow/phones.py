"""Phone numbers as ITU-T E.164 writes them."""

from __future__ import annotations

import re

_FULL_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")  # ITU-T E.164 §6: at most 15 digits


def e164(text: str, country: str | None = None) -> str | None:
    """A phone number as ``+5215512345678``; ``None`` when the text is none.

    Args:
        text: the number with or without its country's, with the usual signs between its digits.
        country: of a number without one (ISO 3166-1 alpha-2).
    """
    import phonenumbers  # needed by few flows; its tables take time to import

    digits = re.sub(r"[\s().-]", "", text)
    # WhatsApp knows numbers that numbering plans no longer do, such as Mexico's +52 1 …: a full number stays.
    if _FULL_NUMBER.fullmatch(digits):
        return digits
    try:
        number = phonenumbers.parse(text.strip(), country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def is_country(country: str) -> bool:
    """Whether the phone numbers of a country are known, told by its two letters (ISO 3166-1)."""
    import phonenumbers  # as above

    return country in phonenumbers.SUPPORTED_REGIONS
