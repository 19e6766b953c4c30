"""Sensitive values of one contact: hidden in records, and restored when a walk resumes.

A recorded result holds a mark such as ``***{contact.email}***`` where one of the values was. It names the value but
does not contain it, so it can be restored from the contact's response, with which every walk starts.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.haystack import fold, haystack, needle
from airflow_whatsapp_flows.flow.reply.marks import MARK, NUMBER, OPEN, escape, in_case, mark
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.secrets import (
    FORMS,
    HIDDEN,
    SHORTEST,
    Family,
    families_in,
    forms_of,
)
from airflow_whatsapp_flows.flow.storable import storable_text
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.template.references import Missing, Reference
from airflow_whatsapp_flows.flow.template.variables import Scope

_Shown = TypeVar("_Shown")

_PHONE = re.compile(r"\+[0-9 ().-]{7,30}")
_NO_DIGIT = re.compile(r"[^0-9]")
_NOT_IN_NAMES = re.compile(r"[{}|#=*]")


class _Needle(NamedTuple):
    """One text to look for.

    Attributes:
        text: as it is written.
        folded: the same without case.
        name: of the value.
        form: name of its form, see :data:`~airflow_whatsapp_flows.flow.secrets.FORMS`.
    """

    text: str
    folded: str
    name: str
    form: str

    @property
    def pattern(self) -> str:
        """Finds it; a short one only as a word of its own, since it may be a part of any other."""
        found = re.escape(self.text)
        return found if len(self.text) >= SHORTEST else rf"(?<!\w){found}(?!\w)"


_NOTHING = ActionResult(outcome=Outcome.SUCCESS, headers={}, method="", url="")


def _needles(name: str, text: str, family: Family) -> list[_Needle]:
    if family == "raw":
        return [_Needle(text, fold(needle(text)), name, "")]
    if len(text) < SHORTEST:
        return []
    forms = forms_of(text, family)
    made = {fold(needle(form)): (form, label) for form, label in reversed(forms.items())}  # the first of each wins
    return [_Needle(form, folded, name, label) for folded, (form, label) in made.items()]


def _literals_with_names(literals: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(literals, 1):
        yield ("flow.secret" if number == 1 else f"flow.secret#{number}"), text


@lru_cache(maxsize=64)
def _needles_of(literals: tuple[str, ...], family: Family) -> tuple[_Needle, ...]:
    """Those of a flow, which are the same for each of its contacts."""
    return tuple(one for name, text in _literals_with_names(literals) for one in _needles(name, text, family))


class Hidden:
    """The current and earlier values of some variables of one contact.

    A value of fewer than four characters is hidden only as a separate word in its original form; a longer one in every
    form of :data:`~airflow_whatsapp_flows.flow.secrets.FORMS`, in any case; but where nothing else looks like Base64,
    12 or more small letters in a row are taken for a word. ``true``, ``false`` and ``null`` are not hidden.

    Args:
        references: the variables.
        literals: of the flow, which are hidden in the same way.
    """

    def __init__(self, references: Iterable[Reference], literals: tuple[str, ...] = ()) -> None:
        self._references = tuple(references)
        self._literals = literals
        self._values = dict(_literals_with_names(literals)) if literals else {}  # by name
        self._named = {text: name for name, text in self._values.items()}
        self._counts: dict[str, int] = {}
        self._shortest = min((len(text) for text in literals if len(text) >= SHORTEST), default=sys.maxsize)
        # Of the families that were wanted so far: what is looked for, and names of values whose forms are not made.
        self._needles: dict[Family, list[_Needle]] = {}
        self._unmade: dict[Family, list[str]] = {}
        self._scopes: dict[str, object] = {one.scope: None for one in self._references}
        self._seen: list[object] = [None] * len(self._references)
        self._last = _NOTHING, _NOTHING, 0
        self._lost: set[str] = set()  # names in marks that could not be put back

    def note(self, values: Mapping[str, object]) -> None:
        """Record the current values: copies of them may be shown after they have changed."""
        changed = [scope for scope, seen in self._scopes.items() if values.get(scope) is not seen]
        if not changed:
            return
        for scope in changed:
            self._scopes[scope] = values.get(scope)
        for index, reference in enumerate(self._references):
            found = reference.resolve(values)
            if found is not self._seen[index] and not isinstance(found, Missing):
                self._seen[index] = found
                for name, text in _leaves(found, ".".join((reference.scope, *reference.path))):
                    self._add(name, text)

    def conceal(self, value: _Shown) -> _Shown:
        """Replace the values with ``***``, in any case, for people."""
        if not self._values or not value:
            return value
        standing = self._needles_in(haystack(value))
        return cast(_Shown, self._replace(value, standing, lambda _, __: HIDDEN))

    def hide(self, result: ActionResult, own: str | None = None) -> ActionResult:
        """Replace the values in a result with marks, for recording.

        Args:
            result: of an action, its values in it.
            own: name of the action, when values that are a part of this result are to be hidden as well. Nothing can
                put those back.
        """
        if not self._references and not self._literals:
            return result
        if own is not None and any(one.step == own for one in self._references):
            return self._with_own(result, own).hide(result)
        known, hidden, count = self._last
        if known is not result or count != len(self._values):  # an attempt and a visit record the same result
            hidden = _with_texts(result, self._insert_marks)
            self._last = result, hidden, len(self._values)
        return hidden

    def restore(self, result: ActionResult) -> ActionResult:
        """Replace the marks in a recorded result with values; marks of unknown values stay."""
        return _with_texts(result, self._restore) if self._references or self._literals else result

    def check_restored(self, step: str, *, is_read: bool) -> None:
        """Check that every mark in the results that were restored since the last check was put back.

        Args:
            step: name of the action.
            is_read: whether a later step reads the result; if not, nothing is missed.

        Raises:
            RenderError: a value is no longer listed in the flow's ``sensitive``.
        """
        lost = sorted(self._lost)
        self._lost.clear()
        if lost and is_read:
            raise RenderError(
                f"the recorded result of {step!r} contains a value that was listed in 'sensitive' when it was "
                f"recorded, but is not listed now: list {lost[0]!r} in 'sensitive' again"
            )

    def _with_own(self, result: ActionResult, step: str) -> Hidden:
        other = Hidden(self._references, self._literals)
        other._values, other._named, other._counts = dict(self._values), dict(self._named), dict(self._counts)
        other._needles = {family: list(needles) for family, needles in self._needles.items()}
        other._unmade = {family: list(names) for family, names in self._unmade.items()}
        other._shortest = self._shortest
        other.note({Scope.STEP.value: {step: result.as_value()}})
        return other

    def _add(self, name: str, text: str) -> None:
        name = _storable_name(name)
        digits = _NO_DIGIT.sub("", text) if _PHONE.fullmatch(text) else text  # many servers write numbers so
        for written in (text, storable_text(text), digits):
            if written in self._named:
                continue
            self._counts[name] = number = self._counts.get(name, 0) + 1
            unique = name if number == 1 else f"{name}#{number}"
            self._values[unique], self._named[written] = written, unique
            if SHORTEST <= len(written) < self._shortest:
                self._shortest = len(written)
            for names in self._unmade.values():
                names.append(unique)

    def _needles_in(self, shown: str) -> list[_Needle]:
        """The texts that stand in a haystack, the longest first."""
        if not self._values:
            return []
        folded = fold(shown)
        found = [
            one
            for family, longest in families_in(shown, self._shortest).items()
            for one in self._needles_of(family, longest)
            if one.folded in folded
        ]
        found.sort(key=lambda one: (-len(one.text), one.text))
        return found

    def _needles_of(self, family: Family, longest: int) -> list[_Needle]:
        """What is looked for of one family, each made when it is first wanted."""
        if family not in self._needles:
            self._needles[family] = list(_needles_of(self._literals, family)) if self._literals else []
            self._unmade[family] = list(self._values)[len(self._literals) :]
        needles = self._needles[family]
        if self._unmade[family]:
            waiting: list[str] = []
            for name in self._unmade[family]:
                text = self._values[name]
                if len(text) <= longest:
                    needles += _needles(name, text, family)
                else:
                    waiting.append(name)
            self._unmade[family] = waiting
        return needles

    def _insert_marks(self, value: Any) -> Any:
        shown = haystack(value)
        standing = self._needles_in(shown)
        if not standing and OPEN not in shown:
            return value
        return self._replace(escape(value), standing, _mark)

    @staticmethod
    def _replace(value: Any, standing: list[_Needle], instead: Callable[[_Needle, str], str]) -> Any:
        if not standing:
            return value
        pattern = re.compile("|".join(f"({needle.pattern})" for needle in standing), re.IGNORECASE)
        marks = instead is _mark

        def replace_match(match: re.Match[str]) -> str:
            return instead(standing[(match.lastindex or 1) - 1], match.group())

        def replace_in(value: Any) -> Any:
            if isinstance(value, str):
                return pattern.sub(replace_match, value)
            if isinstance(value, Mapping):
                return {replace_in(key) if marks else key: replace_in(item) for key, item in value.items()}
            if isinstance(value, list):
                return [replace_in(item) for item in value]
            if value is None or isinstance(value, bool):
                return value
            text = text_of(value)
            changed = pattern.sub(replace_match, text)
            return value if changed == text else f"{NUMBER}{changed}" if marks else changed

        return replace_in(value)

    def _restore(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {self._restore(key): self._restore(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._restore(item) for item in value]
        if not isinstance(value, str) or OPEN not in value:
            return value
        restored = MARK.sub(self._value, value.removeprefix(NUMBER))
        if not value.startswith(NUMBER):
            return restored
        try:
            return json.loads(restored)
        except ValueError:
            return restored

    def _value(self, match: re.Match[str]) -> str:
        name, _, rest = match[1].partition("|")
        form, _, case = rest.partition("|")
        if name == "=":
            return HIDDEN
        if name not in self._values or form not in FORMS:
            self._lost.add(name)
            return match.group()
        return in_case(FORMS[form](self._values[name]), case)


def _mark(found_one: _Needle, found: str) -> str:
    return mark(found_one.name, found_one.form, found_one.text, found)


class Veil(Struct, frozen=True, eq=False):
    """How the result of one visit is recorded and restored, for every driver of a walk.

    Sensitive values that are known before the request is sent are marked. Those that the server returns are kept if a
    later step reads the result, because they are not available elsewhere; otherwise they are marked as well.

    Attributes:
        hidden: the values.
        own: name of the action, where values that are a part of its result are marked.
    """

    hidden: Hidden
    own: str | None = None

    def hide(self, result: ActionResult) -> ActionResult:
        """A result as it is written into the ledger."""
        return self.hidden.hide(result, self.own)

    def restore(self, result: ActionResult) -> ActionResult:
        """A result of the ledger, or of XCom, as the walk is answered with it."""
        return self.hidden.restore(result)


NOTHING_HIDDEN = Hidden(())  # it keeps nothing, so all contacts of flows that hide nothing share it
NO_VEIL = Veil(NOTHING_HIDDEN)


def _with_texts(result: ActionResult, change: Callable[[Any], Any]) -> ActionResult:
    message = result.error.message if result.error else ""
    before = [result.url, result.reason, message, dict(result.headers), result.response]
    after = change(before)
    if after == before:
        return result
    url, reason, message, headers, response = after
    error = result.error and replace(result.error, message=message)
    return replace(result, url=url, reason=reason, headers=headers, response=response, error=error)


@lru_cache(maxsize=1024)
def _storable_name(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)


def _leaves(value: Value, name: str) -> Iterator[tuple[str, str]]:
    """The texts in a value, each with a name; those without a letter or digit could be a part of anything."""
    if isinstance(value, (str, int, float)):
        text = "" if isinstance(value, bool) else text_of(value).strip()
        if text[:1].isalnum() or any(map(str.isalnum, text)):
            yield name, text
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{name}.{index}")
