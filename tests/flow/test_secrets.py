"""Names of secrets, and hiding of their values."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.secrets import (
    HIDDEN,
    all_spellings,
    fold,
    haystack,
    hide,
    names_secret,
    needle,
    secrets_in,
    spellings,
)
from tests.flow.encodings import ENCODINGS


@pytest.mark.parametrize(
    "name",
    ["Authorization", "X-Api-Key", "X-Signature", "Cookie", "access_token", "client_secret", "PASSWORD", "pwd", "x.sig",
     "pin", "session_id", "Proxy-Authorization", "dsn", "credentials"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize("name", ["name", "phone", "spine", "design", "Content-Type", "key_lifetime", "compass", ""])
def test_names_of_other_things(name: str) -> None:
    assert not names_secret(name)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS.keys() - {"upper case"}))
@pytest.mark.parametrize("secret", ["s3cr/et+&<key>=", "sécrèt 'key'", 'qu"ote\\key'])
def test_every_form_of_a_secret_is_hidden(secret: str, encoding: str) -> None:
    written = ENCODINGS[encoding](secret)

    assert hide(f"before {written} behind", spellings(secret)) == f"before {HIDDEN} behind"


@settings(suppress_health_check=[HealthCheck.too_slow])  # says more about the machine than about the test
@given(st.text(min_size=4, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_hides_the_secret_in_any_text(secret: str, before: str, behind: str) -> None:
    assert secret not in hide(before + secret + behind, spellings(secret)) or secret in HIDDEN or HIDDEN in secret


def test_does_not_search_for_short_secrets() -> None:
    assert hide("an answer", all_spellings(["an", "", "ans"])) == "an answer"


def test_searches_large_data_as_well_as_small() -> None:
    texts = [f'a "text" {number}' for number in range(9_000)]
    names = [f"name {number}" for number in range(3_000)]
    value = [{"few": [1]}, [[texts[:4_000]], {"of": dict.fromkeys(names, 1.5)}], "alone", *texts[4_000:]]

    shown = haystack(value)

    assert [text for text in (*texts, *names, "few", "of", "alone") if needle(text) not in shown] == []
    assert secrets_in(shown, ["none", texts[0], names[-1]]) == [texts[0], names[-1]]


@pytest.mark.parametrize(
    "text", ["İSTRASSE ß😀" * 20_000, "ABC" * 60_000, "ẞ", ""], ids=["long", "ASCII", "short", "none"]
)
def test_folding_a_long_text_equals_folding_its_parts(text: str) -> None:
    assert fold(text) == text.casefold().replace("i\u0307", "i")


def test_folding_equals_case_insensitive_matching() -> None:
    letters = [chr(number) for number in range(0x11_0000) if not 0xD800 <= number < 0xE000]
    pairs = {
        (one, other) for one in letters for other in (one.lower(), one.upper()) if len(other) == 1 and other != one
    }
    pairs |= {("i", "\u0131"), ("i", "\u0130"), ("\u0131", "\u0130")}
    same = [pair for pair in pairs if re.fullmatch(re.escape(pair[0]), pair[1], re.IGNORECASE)]

    assert len(same) > 2_000
    assert [pair for pair in same if fold(pair[0]) != fold(pair[1])] == []
