"""Which step of an old flow a step of a new one is, whatever it is called now."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Written = Mapping[str, Any]
"""A step as plain data, with every key of its type."""

_TARGETS = frozenset(
    {"next", "otherwise", "on_success", "on_error", "on_no_answer", "on_answer_failed", "on_max_visits", "step", "path"}
)
# What is in these is the author's own: a key of a body that is called "next" leads to no step.
_OWN = frozenset({"body", "headers", "query_params", "meta", "whatsapp_template_variables", "response", "variables"})
_BY_STEP = frozenset({"step", "actions", "exits"})
"""The parts of a contact response that belong to a step."""
_UNKNOWN = "\0"


def match_steps(old: Mapping[str, Written], new: Mapping[str, Written]) -> dict[str, str]:
    """Pair the steps of two flows.

    Steps are the same that have the same id on the platform, else those that are known by the same id or name, else
    those of the same name, else those that do the same under another name, when that is certain: no other step of
    either flow does the same.

    Returns:
        Name in the old flow to the name in the new one, of the steps that are in both.
    """
    pairs = _by(_platform_id, old, new)
    pairs |= {name: other for name, other in _by(_own_id, old, new).items() if name not in pairs}
    taken = set(pairs.values())
    pairs |= {name: name for name in old if name in new and name not in pairs and name not in taken}
    candidates = _candidates(old, new, pairs)
    while candidates:
        renamed = Renaming(old, pairs | candidates)
        certain = {
            name: other
            for name, other in candidates.items()
            if _text(renamed.content(old[name])) == _text(_content(new[other]))
        }
        if certain == candidates:
            return pairs | certain
        # What one of them leads to is another step after all.
        candidates = certain
    return pairs


def _by(key: Callable[[Written], str | None], old: Mapping[str, Written], new: Mapping[str, Written]) -> dict[str, str]:
    before, after = _unique(old, key), _unique(new, key)
    return {name: after[key] for key, name in before.items() if key in after}


def _platform_id(step: Written) -> str | None:
    found = step.get("platform_id")
    return found if isinstance(found, str) else None


def _own_id(step: Written) -> str | None:
    return None if _platform_id(step) is not None else step.get("id") or step["name"]


def _candidates(old: Mapping[str, Written], new: Mapping[str, Written], pairs: Mapping[str, str]) -> dict[str, str]:
    others = set(pairs.values())
    left = {name: step for name, step in old.items() if name not in pairs}
    right = {name: step for name, step in new.items() if name not in others}
    # Names that may have changed are left open here.
    before = Renaming(old, {**pairs, **dict.fromkeys(left, _UNKNOWN)})
    after = Renaming(new, {**{name: name for name in new}, **dict.fromkeys(right, _UNKNOWN)})
    left_by_content = _unique(left, lambda step: _text(before.content(step)))
    right_by_content = _unique(right, lambda step: _text(after.content(step)))
    return {name: right_by_content[key] for key, name in left_by_content.items() if key in right_by_content}


def _unique(steps: Mapping[str, Written], key: Callable[[Written], str | None]) -> dict[str, str]:
    """Key to name, of the steps that share their key with no other."""
    keys = {name: key(step) for name, step in steps.items()}
    times = Counter(keys.values())
    return {found: name for name, found in keys.items() if found is not None and times[found] == 1}


def _content(step: Written) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key not in ("name", "id", "platform_id")}


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)


class Renaming:
    """Names of steps put in place of others, wherever a flow file names a step.

    Args:
        names: of every step of the flow.
        pairs: name to the other name; what is not in it stays.
    """

    def __init__(self, names: Iterable[str], pairs: Mapping[str, str]) -> None:
        self._pairs = {name: other for name, other in pairs.items() if name != other}
        # The longest match wins, as it does in templates.
        known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        self._reference = re.compile(rf"""(?<!\w)step(?:\.(?P<bare>{known})(?!\w)|\[(["'])(?P<quoted>{known})\2\])""")

    def content(self, step: Written) -> Any:
        """A step without its name and ids, its references and targets renamed."""
        return self.value(_content(step))

    def value(self, value: Any, key: str = "") -> Any:
        """Plain data with every name of a step in it renamed.

        Args:
            value: a part of a flow file.
            key: that it stands under.
        """
        if not self._pairs:
            return value
        if isinstance(value, dict) and "expect" in value and "response" in value:
            matched = {inner: self.value(item, inner) for inner, item in value.items() if inner != "response"}
            return {**matched, "response": self._answers(value["response"])}
        if isinstance(value, dict):
            # Of options the labels are keys, and the targets values.
            below = "" if key in _OWN else "next" if key == "options" else None
            if key in _OWN:
                # What a test expects of variables stands under references to them.
                return {self._text(inner) if key == "variables" else inner: self._own(v) for inner, v in value.items()}
            return {inner: self.value(item, below or inner) for inner, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, key) for item in value]
        if not isinstance(value, str):
            return value
        return self._pairs.get(value, value) if key in _TARGETS else self._text(value)

    def _answers(self, response: Any) -> Any:
        """The contact response of a test: names of steps are keys in it, alone or behind ``step.``."""
        if not isinstance(response, dict):
            return response
        matched: dict[str, Any] = {}
        for key, item in response.items():
            if key in _BY_STEP and isinstance(item, dict):
                item = {self._pairs.get(name, name): found for name, found in item.items()}
            elif key == "history" and isinstance(item, list):
                item = [self.value(answer) for answer in item]
            matched[self._text(key)] = item
        return matched

    def _own(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._own(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._own(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        return self._reference.sub(self._rename, text)

    def _rename(self, match: re.Match[str]) -> str:
        group = "bare" if match["bare"] is not None else "quoted"
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        whole = match.group()
        return whole[:start] + self._pairs.get(match[group], match[group]) + whole[end:]
