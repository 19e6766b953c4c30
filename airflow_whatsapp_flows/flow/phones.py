"""Phone numbers: as ITU-T E.164 writes them, and compared as people mean them."""

from __future__ import annotations

import re
import unicodedata

_FULL_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")  # ITU-T E.164 §6: at most 15 digits
_FULL_DIGITS = 18
_DIGITS = re.compile(r"[0-9]{3,18}")
# What stands before a number: RFC 3966 §3, Twilio's and Meta's prefix, and WhatsApp's links.
_SCHEME = re.compile(r"\s*(?:(?:tel|whatsapp|sms|callto):(?://)?|(?:https?://)?(?:www\.)?wa\.me/)", re.IGNORECASE)
_WHATSAPP_ADDRESS = re.compile(r"@(?:c\.us|s\.whatsapp\.net)\s*$", re.IGNORECASE)
_CONTEXT = re.compile(r";phone-context=(\+[0-9().-]+)", re.IGNORECASE)  # RFC 3966 §5.1.5
_EXTENSION = re.compile(
    r"\s*(?:;|,+|(?<=[0-9)\s])(?:\(?\s*(?:ext(?:ensi[oó]n)?|e?xtn?|anexo|int(?:erno)?|ramal|доб)\b\.?|[x#]))"
    r"[\s:.=#]*[0-9]{1,8}\s*\)?\s*$",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"(?:[\s().\-‐-―−~]|/(?=[\s0-9-]{5}))+")  # 030/123456 is one number, and …78/79 are two
_TRUNK_ZERO = re.compile(r"^(\s*(?:\+|00|011)?[\s.-]*[0-9]{0,3}[\s.-]*)\(\s*0\s*\)")
# Calling codes that are followed by a zero: it is a trunk prefix that does not belong there, except in Italy and a few
# other plans. See ITU-T E.164 Annex, "List of assigned country codes".
_ZERO_AFTER_CODE = re.compile(
    r"\+(1|7|2[07]|2[1-69][0-9]|3[0-469]|3[578][0-9]|4[013-9]|42[0-9]|5[1-8]|5[09][0-9]|6[0-6]|6[7-9][0-9]"
    r"|8[1246]|8[03578][0-9]|9[0-58]|9[679][0-9])(0+)"
)
_MEXICAN_TRUNK = re.compile(r"0(?:1|44|45)([0-9]{10})")  # given up in 2019, and still written
# One person, two spellings: WhatsApp writes Mexican mobiles with a 1 that the numbering plan gave up, Argentine ones
# with a 9 that others leave out, and Brazilian ones without the ninth digit that the plan asks for.
_EQUAL_SPELLINGS = {
    "+52": (re.compile(r"\+521([0-9]{10})"), r"+52\1"),
    "+54": (re.compile(r"\+549([0-9]{10})"), r"+54\1"),
    "+55": (re.compile(r"\+55([0-9]{2})([6-9][0-9]{7})"), r"+55\g<1>9\2"),
}
_OTHER_SPELLINGS = (
    (re.compile(r"\+52([0-9]{10})"), r"+521\1"),
    (re.compile(r"\+54([0-9]{10})"), r"+549\1"),
    (re.compile(r"\+55([0-9]{2})9([6-9][0-9]{7})"), r"+55\1\2"),
)
_TRUNKS = (*("0" * count for count in range(1, 9)), "01", "044", "045", "06")  # also those of Mexico and Hungary
_BETWEEN_NUMBERS = re.compile(r"[,;/|\n]|\s(?:or|and|o|y|e|ou)\s", re.IGNORECASE)
_FEWEST_DIGITS = 7
_LONGEST = 250
"""Characters in one number, however it is written. Longer text is not a number: some of the patterns are quadratic."""
_LONGEST_LIST = 5_000


def e164(text: str, country: str | None = None) -> str | None:
    """A phone number as ``+5215512345678``; ``None`` when the text is none.

    Args:
        text: the number with or without its country's, with the usual signs between its digits.
        country: of a number without one (ISO 3166-1 alpha-2).
    """
    import phonenumbers  # needed by few flows; its tables take time to import

    text = text.strip()
    if len(text) > _LONGEST:
        return None
    digits = re.sub(r"[\s().-]", "", text)
    # WhatsApp knows numbers that numbering plans no longer do, such as Mexico's +52 1 …: a full number stays.
    if _FULL_NUMBER.fullmatch(digits):
        return digits
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def phone_key(value: object, country: str | None = None) -> str | None:
    """A key that is equal for two spellings of one phone number, and differs for two numbers.

    It reads digits of any script, ``tel:`` (RFC 3966) and ``whatsapp:``, the trunk prefix ``(0)``, extensions, the
    international prefixes ``00`` and ``011``, national numbers of the default country, and a number without ``+`` as
    WhatsApp's own ids are. Numbers that WhatsApp and a numbering plan write differently have the same key.

    Args:
        value: what somebody wrote or exported: text, or a whole number.
        country: default country of numbers without a country code (ISO 3166-1 alpha-2).

    Returns:
        The key, such as ``+525512345678``; ``None`` when nobody can tell which number it is.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    if isinstance(value, int) and value >= 10**_FULL_DIGITS:
        return None
    text = str(value)
    if _FULL_NUMBER.fullmatch(text):
        return _one_spelling(_without_trunk_zero(text))
    text = _plain_text(text)
    if text.startswith("+"):
        return _one_spelling(_without_trunk_zero(text)) if _FULL_NUMBER.fullmatch(text) else None
    if not _DIGITS.fullmatch(text):
        return None
    if text.startswith("00") and _FULL_NUMBER.fullmatch(f"+{text[2:]}"):
        return _one_spelling(_without_trunk_zero(f"+{text[2:]}"))
    return _key_without_code(text, country)


def plain_spellings(key: str) -> list[str]:
    """Return the texts of a plus sign and digits that can have this key: other spellings, and trunk prefixes.

    Args:
        key: what :func:`phone_key` returned.
    """
    found = {key}
    for pattern, text in _OTHER_SPELLINGS:
        match = pattern.fullmatch(key)
        if match:
            found.add(match.expand(text))
    for number in tuple(found):
        for end in range(2, 5):  # behind a calling code of one to three digits
            code, rest = number[:end], number[end:]
            found.update(code + trunk + rest for trunk in _TRUNKS)
    return sorted(text for text in found if _FULL_NUMBER.fullmatch(text))


def has_several_phones(value: object) -> bool:
    """Whether a value holds more than one phone number: a list, or a text such as ``+525512345678, +525587654321``."""
    if isinstance(value, (list, tuple, dict)):
        return True
    if not isinstance(value, str) or len(value) <= 2 * _FEWEST_DIGITS:
        return False
    parts = [part for part in _BETWEEN_NUMBERS.split(value[:_LONGEST_LIST]) if "=" not in part]
    return len([part for part in parts if sum(map(str.isdigit, part)) >= _FEWEST_DIGITS]) > 1


def looks_like_phone(text: str) -> bool:
    """Whether a text can be meant as nothing but a phone number, whole or not."""
    plain = _plain_text(text)
    return plain.startswith("+") or bool(_SCHEME.match(text.lstrip())) or (_DIGITS.fullmatch(plain) is not None)


def is_country(country: str) -> bool:
    """Whether the phone numbers of a country are known, told by its two letters (ISO 3166-1)."""
    import phonenumbers  # as above

    return country in phonenumbers.SUPPORTED_REGIONS


def _plain_text(text: str) -> str:
    """Digits with or without a leading ``+``, where the text is one number; else something that is not."""
    text = text.strip()
    if len(text) > _LONGEST:
        return ""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(_plain_sign(sign) for sign in text)
    text = _WHATSAPP_ADDRESS.sub("", _SCHEME.sub("", text, count=1), count=1)
    if ";" in text:  # RFC 3966 §3: parameters
        number, _, parameters = text.partition(";")
        context = _CONTEXT.match(f";{parameters}") or _CONTEXT.search(f";{parameters}")
        if context and not number.lstrip().startswith("+"):
            number = context.group(1) + number
        text = number if all("=" in part for part in parameters.split(";")) else text
    text = _EXTENSION.sub("", text, count=1)
    text = _TRUNK_ZERO.sub(r"\1", text, count=1)
    return _SEPARATORS.sub("", text)


def _plain_sign(sign: str) -> str:
    digit = unicodedata.decimal(sign, None)
    if digit is not None:
        return str(int(digit))
    return "" if unicodedata.category(sign) == "Cf" else sign  # marks of direction come along when numbers are copied


def _without_trunk_zero(number: str) -> str:
    match = _ZERO_AFTER_CODE.match(number)
    if match is None:
        return number
    rest = number[match.end() :]
    mexican = _MEXICAN_TRUNK.fullmatch(number[3:]) if match.group(1) == "52" else None
    candidates = (number, f"+{match.group(1)}{mexican.group(1) if mexican else rest}")
    return next((found for one in candidates if (found := _valid(one, None)) is not None), number)


def _key_without_code(digits: str, country: str | None) -> str | None:
    """The key of digits without ``+``: in the default country, else behind a prefix, else as WhatsApp writes ids."""
    import phonenumbers  # as above

    candidates: list[tuple[str, str | None]] = []
    if country is not None:
        if digits.startswith(str(phonenumbers.country_code_for_region(country))):
            candidates.append((f"+{digits}", None))  # plans with numbers of many lengths read it as their own, too
        candidates.append((digits, country))
        mexican = _MEXICAN_TRUNK.fullmatch(digits) if country == "MX" else None
        candidates.append((mexican.group(1) if mexican else digits.lstrip("0"), country))
    if digits.startswith("011"):
        candidates.append((f"+{digits[3:]}", None))
    candidates.append((f"+{digits}", None))
    for text, region in candidates:
        number = _one_spelling(text) if region is None else text
        found = _valid(number, region)
        if found is not None and _FULL_NUMBER.fullmatch(found):  # with a plus sign it would be none
            return _one_spelling(found)
    return None


def _valid(text: str, country: str | None) -> str | None:
    import phonenumbers  # as above

    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _one_spelling(number: str) -> str:
    found = _EQUAL_SPELLINGS.get(number[:3])
    match = None if found is None else found[0].fullmatch(number)
    return number if found is None or match is None else match.expand(found[1])
