"""A tiny template language: ``{{ name }}`` and ``{{ name | default("x") }}``, looked up in a dict."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_whatsapp_flows.errors import MissingValueError
from airflow_whatsapp_flows.flow.body import EncodedBody, FileContent, parse_body
from airflow_whatsapp_flows.flow.body.body import BodyType
from airflow_whatsapp_flows.flow.template.language import TemplateFault, Value
from airflow_whatsapp_flows.flow.template.placeholders import Placeholder, find_placeholders

_EXPRESSION = re.compile(r"([\w. ']+?)(?:\s*\|\s*default\((\"|')(.*)\2\))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DictTemplate:
    text: str
    placeholders: tuple[Placeholder, ...]

    def render(self, values: Mapping[str, object]) -> str:
        rendered, at = "", 0
        for placeholder in self.placeholders:
            value = _look_up(placeholder, values)
            rendered += self.text[at : placeholder.start]
            rendered += value if isinstance(value, str) else "" if value is None else json.dumps(value)
            at = placeholder.end
        return rendered + self.text[at:]

    def evaluate(self, values: Mapping[str, object]) -> Value:
        if [placeholder.source for placeholder in self.placeholders] == [self.text]:
            return _look_up(self.placeholders[0], values)
        return self.render(values)


def _look_up(placeholder: Placeholder, values: Mapping[str, object]) -> Value:
    match = _EXPRESSION.fullmatch(placeholder.expression)
    assert match
    if match.group(1) not in values:
        if match.group(2):
            return match.group(3)
        raise MissingValueError(f"{match.group(1)} has no value")
    return values[match.group(1)]  # type: ignore[return-value]


class DictLanguage:
    def parse(self, text: str) -> DictTemplate | str:
        placeholders = tuple(find_placeholders(text))
        for placeholder in placeholders:
            if not _EXPRESSION.fullmatch(placeholder.expression):
                raise TemplateFault(f"cannot read {placeholder.source}", placeholder.start)
        return DictTemplate(text, placeholders) if placeholders else text


LANGUAGE = DictLanguage()


def encode(
    body_type: str,
    body: object,
    values: Mapping[str, object] | None = None,
    files: dict[str, FileContent] | None = None,
) -> EncodedBody:
    return parse_body(BodyType(body_type), body, LANGUAGE).encode(values or {}, files or {})


def content(body_type: str, body: object, **values: object) -> bytes:
    return encode(body_type, body, values).content


def fault_of(body_type: str, body: object) -> TemplateFault:
    with pytest.raises(TemplateFault) as caught:
        parse_body(BodyType(body_type), body, LANGUAGE)
    return caught.value


def naughty_strings() -> list[str]:
    """The big list of naughty strings."""
    path = Path(__file__).parents[4] / "shared" / "vectors" / "blns.json"
    if not path.exists():
        pytest.skip(f"{path} is not here: the shared test vectors are not part of the repository")
    return list(json.loads(path.read_text(encoding="utf-8")))


INJECTIONS = [
    '"',
    '", "admin": true, "x": "',
    "\r\nX-Evil: 1",
    "\r\n\r\n--boundary--",
    "</a><b>",
    "<!--",
    "]]>",
    "&amp;&x=1",
    "a&b=c",
    "{{ 7*7 }}",
    "{{ secret }}",
    "{% raw %}",
    "- a: b",
    "!!python/object:os.system x",
    "&a *a",
    "y",
    "no",
    "~",
    "null",
    "1e3",
    "0o7",
    "007",
    "+5215512345678",
    "12:30:45",
    "2026-11-22",
    "<<",
    "=",
    "% TAG",
    "# comment",
    " leading and trailing ",
    "\ttab\t",
    "line\nbreak\rcr\r\ncrlf\x85nel\u2028ls\u2029ps",
    "\ufeffbom",
    "ñ 名 😀 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\\u0041 \\n \\",
    "'",
    "%41%zz+ ~*-._",
    "",
]
