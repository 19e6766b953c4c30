"""Phone numbers are compared regardless of their spelling."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.phones import e164, has_several_phones, phone_key, plain_spellings

MEXICO = "+525512345678"


@pytest.mark.parametrize(
    "written",
    [
        "+525512345678",
        "+5215512345678",
        "525512345678",
        "5215512345678",
        525512345678,
        "0052-55-1234-5678",
        "011 52 55 1234 5678",
        "(52) 55 1234.5678",
        "+５２５５１２３４５６７８",
        "＋٥٢ ٥٥١٢٣٤٥٦٧٨",
        "+۵۲ ۵۵۱۲۳۴۵۶۷۸",
        "\u202a+52 55 1234 5678\u202c",
        "+52\u00a055\u20111234\u20115678",
        "+52 (0)55 1234 5678",
        "0052 (0) 55 1234 5678",
        "+52 01 55 1234 5678",
        "+52 044 55 1234 5678",
        "+52 55 1234 5678 ext 0",
        "+52 55 1234 5678 ext. 123",
        "+52 55 1234 5678x9",
        "+52 55 1234 5678 #12",
        "+525512345678,,3",
        "tel:+52-55-1234-5678",
        "tel:+52-55-1234-5678;ext=12",
        "tel:55-1234-5678;phone-context=+52",
        "TEL://+525512345678",
        "whatsapp:+5215512345678",
        "5215512345678@s.whatsapp.net",
        "https://wa.me/5215512345678",
    ],
)
def test_spellings_of_one_number_have_one_key(written: object) -> None:
    assert phone_key(written) == MEXICO


@pytest.mark.parametrize(
    ("written", "country"),
    [
        ("55 1234 5678", "MX"),
        ("(0)55 1234 5678", "MX"),
        ("044 55 1234 5678", "MX"),
        ("01 55 1234 5678", "MX"),
        ("55-1234-5678 ext 4", "MX"),
        ("011 52 55 1234 5678", "US"),
        ("0052 55 1234 5678", "US"),
        ("0052 55 1234 5678", "MX"),
        ("525512345678", "ES"),
        ("5215512345678", "MX"),
        ("+52 55 1234 5678", "GB"),
    ],
)
def test_national_numbers_use_the_default_country(written: str, country: str) -> None:
    assert phone_key(written, country) == MEXICO


@pytest.mark.parametrize(
    ("one", "other"),
    [("+5491123456789", "+541123456789"), ("+5511987654321", "+551187654321"), ("+5215512345678", "+525512345678")],
)
def test_the_two_spellings_of_whatsapp_numbers_have_one_key(one: str, other: str) -> None:
    assert phone_key(one) == phone_key(other)


def test_a_landline_is_not_a_mobile_without_its_ninth_digit() -> None:
    assert phone_key("+551123456789") != phone_key("+5511923456789")


@pytest.mark.parametrize(
    "written",
    ["5512345678", "", "Ana", "Ana +525512345678", "+52", "55 1234", "+525512345678 +525512345679", True, None, 5.5,
     ["+525512345678"], "BR.1502345678901234", "+1234567890123456"],
)  # fmt: skip
def test_ambiguous_numbers_have_no_key(written: object) -> None:
    assert phone_key(written) is None


@pytest.mark.parametrize("written", ["+39 06 698 12345", "+390669812345"])
def test_keeps_a_zero_that_is_part_of_the_number(written: str) -> None:
    assert phone_key(written) == "+390669812345"


@pytest.mark.parametrize(
    ("value", "several"),
    [
        (["+525512345678"], True),
        ({"main": "+525512345678"}, True),
        ("+525512345678, +525512345679", True),
        ("+525512345678/+525512345679", True),
        ("+52 55 1234 5678 y +52 55 1234 5679", True),
        ("+525512345678", False),
        ("tel:+525512345678;ext=1234567", False),
        ("+52 55 1234 5678 ext 12", False),
        ("030/1234567", False),
        (None, False),
    ],
)
def test_distinguishes_a_list_of_numbers_from_a_number(value: object, several: bool) -> None:
    assert has_several_phones(value) is several


# -- properties --

COUNTRIES = ("MX", "BR", "AR", "CO", "US", "ES", "DE", "GB", "IN", "EG", "IT", "FR")
SCRIPTS = ("0123456789", "０１２３４５６７８９", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९")


def example(country: str) -> phonenumbers.PhoneNumber:
    return phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)


@st.composite
def numbers(draw: st.DrawFn) -> tuple[str, phonenumbers.PhoneNumber]:
    """A country, and a valid number of it."""
    country = draw(st.sampled_from(COUNTRIES))
    known = example(country)
    digits = phonenumbers.national_significant_number(known)
    changed = digits[:-6] + draw(st.text("0123456789", min_size=6, max_size=6))
    number = phonenumbers.parse(f"+{known.country_code}{changed}")
    return country, number if phonenumbers.is_valid_number(number) else known


@st.composite
def spellings(draw: st.DrawFn, country: str, number: phonenumbers.PhoneNumber) -> str:
    """One of the usual ways to write a number."""
    formats = phonenumbers.PhoneNumberFormat
    full = phonenumbers.format_number(number, formats.E164)
    code, national = str(number.country_code), phonenumbers.national_significant_number(number)
    written = draw(
        st.sampled_from(
            [
                full,
                full.removeprefix("+"),
                f"00{full[1:]}",
                f"011{full[1:]}",
                phonenumbers.format_number(number, formats.INTERNATIONAL),
                phonenumbers.format_number(number, formats.NATIONAL),
                phonenumbers.format_number(number, formats.RFC3966),
                f"+{code} (0){national}",
                f"({code}) {national}",
                f"whatsapp:{full}",
                f"{full[1:]}@s.whatsapp.net",
            ]
        )
    )
    separator = draw(st.sampled_from(["", " ", "-", ".", "\u00a0", "\u2011"]))
    if separator and "@" not in written and "tel:" not in written:
        at = draw(st.integers(max(1, len(written) - 6), len(written) - 1))
        written = written[:at] + separator + written[at:]
    if "@" not in written and "tel:" not in written:
        written += draw(st.sampled_from(["", " ext 0", " ext. 12", " x3", ";ext=4"]))
    script = draw(st.sampled_from(SCRIPTS))
    return written.translate(str.maketrans("0123456789", script))


@settings(max_examples=600, deadline=None)
@given(st.data(), numbers())
def test_every_spelling_of_a_number_has_its_key(
    data: st.DataObject, chosen: tuple[str, phonenumbers.PhoneNumber]
) -> None:
    country, number = chosen
    full = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    written = data.draw(spellings(country, number))
    assert phone_key(written, country) == phone_key(full), (written, country)


@settings(max_examples=400, deadline=None)
@given(numbers(), st.sampled_from(["", "0", "00", "1", "9", "01", "044", "06"]), st.integers(1, 3))
def test_plain_spellings_include_every_number_with_the_key(
    chosen: tuple[str, phonenumbers.PhoneNumber], trunk: str, digits_of_code: int
) -> None:
    full = phonenumbers.format_number(chosen[1], phonenumbers.PhoneNumberFormat.E164)
    written = full[: 1 + digits_of_code] + trunk + full[1 + digits_of_code :]
    key = phone_key(written)
    assert key is None or written in plain_spellings(key), (written, key)


@settings(max_examples=400, deadline=None)
@given(st.data(), numbers(), numbers())
def test_different_numbers_have_different_keys(
    data: st.DataObject, one: tuple[str, phonenumbers.PhoneNumber], other: tuple[str, phonenumbers.PhoneNumber]
) -> None:
    def mobile(number: phonenumbers.PhoneNumber) -> str:
        full = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        return full.replace("+549", "+54", 1)  # WhatsApp's other spelling

    first = phone_key(data.draw(spellings(*one)), one[0])
    second = phone_key(data.draw(spellings(*other)), other[0])
    assert (first == second) == (mobile(one[1]) == mobile(other[1]))


SIGNS = st.sampled_from(
    ["+", "0", "00", "011", "52", "55", "1", "999", "(", ")", "-", " ", ";ext=", "x", "tel:", "\u0660", "\u00b2"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(SIGNS, max_size=12).map("".join) | st.text("+0123456789", max_size=19) | st.text(max_size=20))
def test_the_key_of_any_text_is_stable(text: str) -> None:
    for country in (None, "MX", "US"):
        key = phone_key(text, country)
        assert key is None or phone_key(key) == key
    assert e164(text) is None or e164(text).startswith("+")  # type: ignore[union-attr]


def test_a_number_that_is_too_short_with_a_plus_sign_is_none_without_it() -> None:
    assert phone_key("431110") is phone_key("+431110") is None  # a valid number of Austria


def test_rejects_a_long_text_as_a_number_quickly() -> None:
    assert phone_key(" " * 100_000 + "+525512345678" + "\n" * 100_000) == "+525512345678"
    for text in ("-" * 1_000_000, "1 " * 500_000, "tel:" * 250_000, "\u0660" * 1_000_000):
        assert phone_key(text) is None
        assert e164(text, "MX") is None
    assert phone_key(10**5_000) is None
    assert has_several_phones("+525512345678, " * 100_000)
