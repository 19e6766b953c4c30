"""npm's ``yaml`` (YAML 1.2) and PyYAML (1.1) read the same values from a YAML body."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.acceptance.texts import NAUGHTY
from tests.flow.body.dict_language import content

pytestmark = pytest.mark.long

# Text that some version of YAML reads as another type.
AMBIGUOUS = [
    "y",
    "Y",
    "n",
    "N",
    "yes",
    "no",
    "on",
    "off",
    "true",
    "True",
    "TRUE",
    "false",
    "null",
    "Null",
    "~",
    "NULL",
    "nan",
    ".nan",
    ".NaN",
    ".inf",
    "-.inf",
    "1e3",
    "1.5e+3",
    "1_000",
    "0o7",
    "0x1F",
    "017",
    "007",
    "+52",
    "+5215512345678",
    "-1",
    ".5",
    "5.",
    "12:30",
    "12:30:45",
    "190:20:30",
    "2026-11-22",
    "2026-11-22T10:00:00Z",
    "=",
    "<<",
    "-",
    "--",
    "---",
    "...",
    "?",
    ":",
    ",",
    "[",
    "]",
    "{",
    "}",
    "#",
    "&",
    "*",
    "!",
    "|",
    ">",
    "'",
    '"',
    "%",
    "@",
    "`",
]
SAMPLES = [*NAUGHTY, *AMBIGUOUS, "- a", "a: b", "a #b", " a", "a ", "&a b", "*a", "!!int 3", "%YAML 1.1", "a\n---\nb"]


def _trees(count: int) -> list[Any]:
    draw = random.Random(20261122)

    def tree(depth: int) -> Any:
        kind = draw.randrange(7 if depth else 5)
        if kind == 0:
            return draw.choice([None, True, False])
        if kind == 1:
            return draw.choice([0, -1, 41, 2**53, -(2**53), 0.5, -2.25, 1e16, 1e-7])
        if kind in (2, 3, 4):
            return draw.choice(SAMPLES)
        if kind == 5:
            return [tree(depth - 1) for _ in range(draw.randrange(4))]
        return {draw.choice(SAMPLES)[:200]: tree(depth - 1) for _ in range(draw.randrange(4))}

    return [tree(4) for _ in range(count)]


def test_text_stays_text_and_numbers_stay_numbers(node: Callable[[str, bytes], bytes]) -> None:
    shared = ["y", 1]
    values: list[Any] = [*({"v": text, "l": [text]} for text in SAMPLES), *_trees(500), {"a": shared, "b": [shared]}]
    sent = [content("yaml", {"v": "{{ x }}"}, x=value).decode() for value in values]

    read = json.loads(node("yaml.js", json.dumps(sent).encode()))

    for value, text, seen in zip(values, sent, read, strict=True):
        assert _with_types(seen) == _with_types({"value": {"v": value}}), text
        assert _with_types(yaml.safe_load(text)) == _with_types({"v": value}), text


def test_keys_stay_text(node: Callable[[str, bytes], bytes]) -> None:
    keys = sorted({text[:200] for text in SAMPLES} - {"__proto__"})  # no JavaScript object can show that key
    sent = [content("yaml", {"v": "{{ x }}"}, x={key: 1}).decode() for key in keys]

    read = json.loads(node("yaml.js", json.dumps(sent).encode()))

    assert read == [{"value": {"v": {key: 1}}} for key in keys]


def _with_types(value: Any) -> Any:
    """True is not 1, and every number is a float in JavaScript."""
    if isinstance(value, dict):
        return {name: _with_types(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_types(item) for item in value]
    if isinstance(value, bool):
        return str(value)
    return float(value) if isinstance(value, (int, float)) else repr(value)
