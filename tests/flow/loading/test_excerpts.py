"""The line of a fault is shown unchanged, without terminal control characters, with carets under the fault."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import Fault
from airflow_whatsapp_flows.flow.loading.excerpts import excerpt

LINE = '      "on_sucess": "Say thanks", "n": 12.5, "body": "Hi {{ step.A b }} %contact.x y% {{ open"'


def excerpt_lines(text: str, column: int, line: int = 1, step: str | None = None) -> list[str]:
    return excerpt(text, Fault("x", line=line, column=column, step=step)).splitlines()


def columns(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.category(character) in ("Mn", "Me") for character in text)


def test_carets_mark_the_key_and_the_step_is_named() -> None:
    text = "{\n" * 13 + '      "on_sucess": "Say thanks",\n'

    assert excerpt_lines(text, 7, line=14, step="Create contact") == [
        '   14 |       "on_sucess": "Say thanks",',
        "      |       ^^^^^^^^^^^ in the step 'Create contact'",
    ]


@pytest.mark.parametrize(
    ("at", "token"),
    [
        ('"Say', '"Say thanks"'),
        ("12.5", "12.5"),
        ("{{ step", "{{ step.A b }}"),
        ("%contact", "%contact.x y%"),
        ("{{ open", '{{ open"'),
        ("step.A", "step.A"),
        (", ", ","),
        (": 12", ":"),
        ("Hi", "Hi"),
    ],
)
def test_carets_are_as_long_as_what_they_mark(at: str, token: str) -> None:
    line, carets = excerpt_lines(LINE, LINE.index(at) + 1)

    start = carets.index("^")
    assert line[start:].startswith(token)
    assert carets[start:] == "^" * len(token)


def test_a_text_with_escaped_quotes_is_one_token() -> None:
    _, carets = excerpt_lines(r'["a \" b", 1]', 2)
    assert carets.count("^") == len(r'"a \" b"')


@pytest.mark.parametrize("text", ["", "a", "a\n"])
def test_the_end_of_a_line_can_be_marked(text: str) -> None:
    line, carets = excerpt_lines(text, len(text.rstrip("\n")) + 1)
    assert carets == "     | ^" if not text else "     |  ^"
    assert line == f"   1 | {text.rstrip()}".rstrip()


@pytest.mark.parametrize(("line", "column"), [(3, 1), (1, 9), (None, None)])
def test_a_location_outside_the_text_shows_nothing(line: int | None, column: int | None) -> None:
    assert excerpt("abc\n", Fault("x", line=line, column=column)) == ""


def test_wide_and_combining_characters_and_tabs_keep_carets_in_place() -> None:
    line, carets = excerpt_lines('\t"名前": "e\u0301", "x": 1', 14)
    assert line == '   1 |     "名前": "e\u0301", "x": 1'
    assert columns(line[: line.index('"x"')]) == carets.index("^")
    assert excerpt_lines('"名前"', 1)[1] == "     | ^^^^^^"


def test_escapes_terminal_control_characters() -> None:
    text = '["\x1b[31m\x00\u202e\x85\u2028\ud800\r", 5]'
    line, carets = excerpt_lines(text, text.index("5") + 1)

    assert line == r'   1 | ["\x1b[31m\x00\u202e\x85\u2028\ud800\r", 5]'
    assert line[carets.index("^")] == "5"


def test_accepts_crlf_and_lf_line_ends() -> None:
    assert excerpt_lines("a\r\nb\r\n", 1, line=2) == ["   2 | b", "     | ^"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a" * 5000, ""),
        ("", "b" * 5000),
        ("a" * 500, "b" * 500),
        ("名" * 90, "Ｂ" * 90),
        ("\u0301" * 300, "\u0301" * 300),
    ],
)
def test_a_long_line_is_cut_around_the_fault(before: str, after: str) -> None:
    line, carets = excerpt_lines(f"{before} X {after}", len(before) + 2)

    assert columns(line) <= 100 + len("   1 | ")
    assert carets.endswith("^")
    assert carets.count("^") == 1
    assert columns(line[: line.index("X")]) == carets.index("^")
    assert line.startswith("   1 | …") is bool(before)
    assert line.endswith("…") is bool(after)


def test_a_long_token_is_marked_as_far_as_it_is_shown() -> None:
    line, carets = excerpt_lines('"' + "x" * 5000 + '", 1', 1)
    assert line.endswith("x…")
    assert columns(line) == 100 + len("   1 | ")
    assert len(carets) == len(line)


def test_a_line_of_a_mebibyte_is_cut_too() -> None:
    text = '{"a": "' + "\t名" * 400_000 + '"}'
    line, carets = excerpt_lines(text, 400_000)
    assert columns(line) <= 107
    assert "^" in carets


@given(st.text(max_size=300), st.integers(1, 320), st.integers(1, 4))
def test_any_excerpt_is_two_printable_lines_or_none(text: str, column: int, line: int) -> None:
    found = excerpt(text, Fault("x", line=line, column=column))

    if found:
        first, second = found.split("\n")
        assert first.isprintable()
        assert set(second.partition("|")[2]) <= {" ", "^"}
        assert columns(first) <= 100 + len("   1 | ")
        assert columns(second) <= 100 + len("   1 | ") + 1


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ('{"Authorization":"Bearer hunter2x"},"bogus":1}', '"bogus"'),
        ('{"X-Api-Key": "hunter2\\n", "next": "B"}', '"hunter2'),
        ('{"token": "hunter2 {{ contact.phone | nofilter }}"}', "{{"),
        ('{"X-Api-Key": "hunter2 {{ contact.phone"', ""),
        ('{"url": "https://bob:hunter2@h.example.com/x y"}', '"https'),
        ('{"body": "{\\"password\\": \\"hunter2\\" }", "x": 1}', "}"),
        ('[\n  "api_key",\n  "hunter2 {{ bogus.x }}"\n]', "{{"),
        ('{\n  "name": "pin",\n  "value": "hunter2 {{ bogus.x }}"\n}', "{{"),
        ('{"password": "' + "hunter2" * 100 + '", "bogus": 1}', '"bogus"'),
    ],
)
def test_secrets_are_hidden_and_carets_stay_in_place(text: str, at: str) -> None:
    place = text.index(at) if at else text.index("{{")
    number = text.count("\n", 0, place) + 1

    line, carets = excerpt_lines(text, place - text.rfind("\n", 0, place), line=number)

    assert "hunter2" not in line
    assert "***" in line
    start = carets.index("^")
    assert line[start:].startswith(at.replace("hunter2", "***"))


def test_hides_a_secret_with_its_context() -> None:
    line, carets = excerpt_lines('{"Authorization":"Bearer hunter2x"},"bogus":1}', 37)

    assert line == '   1 | {"Authorization":"Bearer ***"},"bogus":1}'
    assert carets == "     |                                ^^^^^^^"


def test_hides_secrets_of_many_faults_in_one_long_line_quickly() -> None:
    text = '{"body": "' + "a" * 1_000_000 + '"}'
    begun = time.process_time()
    for column in range(500_000, 500_200):
        assert "aaaa" in excerpt_lines(text, column)[0]
    assert time.process_time() - begun < 10


def test_shows_a_key_after_a_secret_sounding_word() -> None:
    text = '{"grant_type": "client_credentials", "client_id": "a", "l": ["token", "s3cr3t"], "x": 1}'

    line, _ = excerpt_lines(text, text.index('"x"') + 1)

    assert 'client_id": "a", "l": ["token", "***"]' in line
