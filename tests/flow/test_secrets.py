"""Names of secrets, and hiding of their values."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.haystack import haystack
from airflow_whatsapp_flows.flow.secrets import (
    HIDDEN,
    SecretFinder,
    all_spellings,
    families_in,
    hide,
    hide_in,
    names_secret,
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


_TEXTS = st.text(alphabet=st.sampled_from('ab%\\&=+"\n\x7f\u2028é😀\ud800'), max_size=12)


@given(
    st.recursive(
        _TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
        lambda parts: st.lists(parts, max_size=4) | st.dictionaries(_TEXTS, parts, max_size=4),
    ),
    st.lists(_TEXTS.filter(bool), max_size=4),
)
def test_finds_every_secret_that_would_be_hidden(value: object, secrets: list[str]) -> None:
    found = SecretFinder(secrets).find_in(haystack(value))

    assert [secret for secret in secrets if secret not in found and hide_in(value, [secret]) != value] == []
    assert found == [secret for secret in secrets if secret in found]


@pytest.mark.parametrize(
    ("text", "families"),
    [
        pytest.param("a few short words", {}, id="short words"),
        pytest.param("ordinary words", {"packed": 6}, id="as long as Base64"),
        pytest.param("organizations", {}, id="a long word"),
        pytest.param("Organizations", {"packed": 9}, id="capital letter"),
        pytest.param("organ1zations", {"packed": 9}, id="digit"),
        pytest.param("c2VjcmV0cw== and YW4tMT8_", {"packed": 7}, id="Base64"),
        pytest.param("736563726574", {"packed": 9}, id="hexadecimal"),
        pytest.param("a%20b", {"percent": 5}, id="percent"),
        pytest.param("a+b", {"percent": 3}, id="form"),
        pytest.param(r"a\/b", {"escaped": 4}, id="JSON"),
        pytest.param("a&lt;b", {"escaped": 6}, id="HTML"),
    ],
)
def test_families_of_forms_that_a_text_may_contain(text: str, families: dict[str, int]) -> None:
    assert families_in(text) == {"raw": len(text), **families}


def test_a_run_shorter_than_the_shortest_secret_in_base64_is_none() -> None:
    assert families_in("ordinary words", shortest=6) == {"raw": 14, "packed": 6}
    assert families_in("ordinary words", shortest=7) == {"raw": 14}


def test_does_not_search_for_short_secrets() -> None:
    assert hide("an answer", all_spellings(["an", "", "ans"])) == "an answer"
