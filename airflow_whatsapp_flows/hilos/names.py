"""Step names: each step gets a unique name, and references to it are updated."""

from __future__ import annotations

import re
from collections.abc import Sequence

from airflow_whatsapp_flows.flow.loading.graph_checks import similar_key
from airflow_whatsapp_flows.hilos.record_masking import Syntax, placeholder_spans

MAX_NAME = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Names:
    """Assigns unique names to the steps of a flow.

    Attributes:
        final: the names, in the order of the records; all are distinct.
    """

    def __init__(self, written: Sequence[str], syntax: Syntax) -> None:
        self._syntax: Syntax = syntax
        self.final = _distinct([_clean(name, number) for number, name in enumerate(written, 1)])
        self._by_name: dict[str, str] = {}
        self._by_key: dict[str, str] = {}
        for name, final in zip(written, self.final, strict=True):
            if stripped := name.strip():
                self._by_name.setdefault(stripped, final)
                self._by_key.setdefault(similar_key(stripped), final)
        self._reference = _references(list(self._by_name))

    def reference(self, text: str) -> str:
        """Update the step name in a reference written without braces."""
        return self._reference.sub(self._rename, text) if self._reference else text

    def text(self, text: str) -> str:
        """Update the step names in a text's placeholders."""
        if "step" not in text:
            return text
        pieces: list[str] = []
        copied = 0
        for start, end in placeholder_spans(text, self._syntax):
            pieces += [text[copied:start], self.reference(text[start:end])]
            copied = end
        return "".join([*pieces, text[copied:]])

    def _rename(self, match: re.Match[str]) -> str:
        written = match.group("bare") or match.group("quoted")
        final = self._by_name.get(written) or self._by_key.get(similar_key(written), written)
        if match.group("bare") is None and '"' not in final and "'" not in final:
            return f"step[{match.group('quote')}{final}{match.group('quote')}]"
        return f"step.{final}"


def _references(names: list[str]) -> re.Pattern[str] | None:
    if not names:
        return None
    # The guides write step.ask_name and step.Start GPT thread alike: case and underscores are ignored.
    loose = [r"[\s_]+".join(map(re.escape, re.split(r"[\s_]+", name))) for name in sorted(names, key=len, reverse=True)]
    known = "|".join(loose)
    return re.compile(
        rf"(?<![\w.])step\s*(?:\.\s*(?P<bare>{known})(?!\w)|\[\s*(?P<quote>[\"'])(?P<quoted>{known})(?P=quote)\s*\])",
        re.IGNORECASE,
    )


def _clean(name: str, number: int) -> str:
    cleaned = _CONTROL.sub(" ", name).strip()[:MAX_NAME].strip()
    return cleaned or f"Step {number}"


def _distinct(names: list[str]) -> list[str]:
    taken = {similar_key(name) for name in names}
    used: set[str] = set()
    distinct: list[str] = []
    for name in names:
        key, number = similar_key(name), 2
        while key in used or not key:
            suffix = f" {number}"
            candidate = name[: MAX_NAME - len(suffix)].rstrip() + suffix
            number += 1
            if similar_key(candidate) not in taken | used:
                name, key = candidate, similar_key(candidate)
        used.add(key)
        distinct.append(name)
    return distinct
