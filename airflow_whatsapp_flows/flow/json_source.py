"""JSON text (RFC 8259) to values, with the place of every value.

The standard library's parser is faster and knows no places, so it reads the file, and this one is asked
only when there is a fault to show.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # there since Python 2.6, not in the stubs
from typing import Any

from airflow_whatsapp_flows.errors import Fault
from airflow_whatsapp_flows.flow.strict_json import NotStrictError, parse_strict_json

MAX_DEPTH = 64
MAX_BYTES = 1_048_576

Path = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"[^\s,\]}\[{:\"]+")
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf"{_HIGH}{_LOW}|\\u[0-9a-fA-F]{{4}}|\\.", re.DOTALL)
_LONE = re.compile(rf"{_HIGH}|{_LOW}|[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class FlowFault:
    """One thing that is wrong with a value of a flow file, by the path of the value.

    Attributes:
        message: for people.
        path: keys and list positions from the top of the file.
        step: name of the step that it is in, if it is in one.
        offset: characters into the value, when it is a text.
        at_key: whether it is the key before the value that is wrong.
        line_of: another value whose line the message ends with.
        after: the rest of the message, after that line.
    """

    message: str
    path: Path
    step: str | None = None
    offset: int = 0
    at_key: bool = False
    line_of: Path | None = None
    after: str = ""

    def locate(self, source: JsonSource) -> Fault:
        """The fault with its line and column in a text."""
        line, column = source.place(self.path, self.offset, key=self.at_key)
        message = self.message
        if self.line_of is not None:
            message += f"{source.place(self.line_of)[0]}{self.after}"
        return Fault(message, self.path, line, column, self.step)


class JsonSource:
    """One JSON text.

    Args:
        text: the file's text, without a byte order mark.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._places: dict[Path, tuple[int, int]] | None = None

    def load(self) -> tuple[Any, list[Fault]]:
        """The value, and what is wrong with the text.

        With a key that stands twice, or a number that is none, the value is there all the same: the rest of
        the file can be checked. With all other faults it is ``None``.
        """
        if len(self.text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            return None, [Fault(f"the file has more than {MAX_BYTES:,} bytes", line=1, column=1)]
        try:
            value, is_strict = _parse(self.text)
        except json.JSONDecodeError as error:
            return None, self._find_faults() or [self._fault_at(f"not JSON: {_plain(error.msg)}", error.pos)]
        except (RecursionError, ValueError):
            return None, self._find_faults() or [Fault("not readable JSON", line=1, column=1)]
        if is_deeper_than(value, MAX_DEPTH):
            return None, self._find_faults()
        if holds_half_pair(self.text, value):
            return None, self._find_surrogates()
        return value, [] if is_strict else self._find_faults()

    def place(self, path: Path, offset: int = 0, *, key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at a path.

        Args:
            path: keys and positions; where nothing stands there, the nearest value around it counts.
            offset: characters into the value, when it is a text.
            key: the place of the key before the value instead.
        """
        if self._places is None:
            self._places = {}
            _Locator(self.text, self._places, []).locate()
        while path and path not in self._places:
            path, offset, key = path[:-1], 0, False
        start, key_start = self._places.get(path, (0, 0))
        if key:
            start = key_start
        elif self.text[start : start + 1] == '"':
            start = self._inside(start + 1, offset) if offset else start
        return self._line_column(start)

    def _inside(self, start: int, offset: int) -> int:
        if self.text.find("\\", start, start + offset) < 0:
            return start + offset
        position = start
        for _ in range(offset):
            escape = _ESCAPE.match(self.text, position)
            position = escape.end() if escape else position + 1
        return position

    def _line_column(self, position: int) -> tuple[int, int]:
        line = bisect_right(self._lines, position)
        return line, position - self._lines[line - 1] + 1

    def _fault_at(self, message: str, position: int) -> Fault:
        line, column = self._line_column(min(position, len(self.text)))
        return Fault(message, line=line, column=column)

    def _find_surrogates(self) -> list[Fault]:
        message = "half of a surrogate pair is not a character and cannot be sent"
        pairs = (match.span() for match in _ESCAPE.finditer(self.text))
        halves = [(start, end) for start, end in pairs if _LONE.fullmatch(self.text, start, end)]
        halves += [match.span() for match in re.finditer(r"[\ud800-\udfff]", self.text)]
        return [self._fault_at(message, start) for start, _ in sorted(halves)]

    def _find_faults(self) -> list[Fault]:
        found: list[tuple[str, int]] = []
        try:
            _Locator(self.text, {}, found).locate()
        except json.JSONDecodeError as error:
            found.append((f"not JSON: {_plain(error.msg)}", error.pos))
        except _TooDeep:
            pass
        return [self._fault_at(message, position) for message, position in found]


def _parse(text: str) -> tuple[Any, bool]:
    """The value, and whether a strict reader takes the text for JSON."""
    try:
        return parse_strict_json(text), True
    except NotStrictError:
        return json.loads(text, parse_constant=lambda _: None), False


def texts_in(value: object, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text of plain data with its path, in the order of the file; keys are not among them.

    Args:
        value: plain data.
        path: of the value.
    """
    waiting: list[tuple[Path, object]] = [(path, value)]
    while waiting:
        here, item = waiting.pop()
        if isinstance(item, str):
            yield here, item
        elif isinstance(item, dict):
            waiting.extend(((*here, key), inner) for key, inner in reversed(item.items()))
        elif isinstance(item, list):
            waiting.extend(((*here, index), inner) for index, inner in reversed(list(enumerate(item))))


def step_name_at(value: Mapping[str, Any], path: Path) -> str | None:
    """Name of the step that a path leads into; ``None`` if it leads into none, or the step has no name.

    Args:
        value: the file as plain data.
        path: of a value that is in it.
    """
    if len(path) < 2 or path[0] != "steps":
        return None
    step = value["steps"][path[1]]
    name = step.get("name") if isinstance(step, dict) else None
    return name if isinstance(name, str) else None


def is_deeper_than(value: Any, depth: int) -> bool:
    """Whether objects and lists stand within each other in more levels than these."""
    level = [value]
    for _ in range(depth + 1):
        level = [item for item in level if isinstance(item, (dict, list))]
        if not level:
            return False
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return any(isinstance(item, (dict, list)) for item in level)


def holds_half_pair(text: str, value: Any) -> bool:
    """Whether half of a surrogate pair, which no encoding has, stands in a JSON text, escaped or not.

    Args:
        text: JSON.
        value: what it says.
    """
    escaped = "\\u" in text
    if text.isascii() and not escaped:
        return False
    try:
        (json.dumps(value, ensure_ascii=False) if escaped else text).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _plain(message: str) -> str:
    return message[0].lower() + message[1:]


class _TooDeep(Exception):
    pass


class _Locator:
    """Walks JSON text once, noting where every value and its key begin."""

    def __init__(self, text: str, places: dict[Path, tuple[int, int]], found: list[tuple[str, int]]) -> None:
        self._text = text
        self._places = places
        self._found = found

    def locate(self) -> None:
        end = self._skip(self._value(self._skip(0), (), 0))
        if end < len(self._text):
            raise json.JSONDecodeError("there is extra text after the value", self._text, end)

    def _skip(self, position: int) -> int:
        match = _BLANK.match(self._text, position)
        return match.end() if match else position

    def _value(self, start: int, path: Path, key_start: int) -> int:
        self._places[path] = (start, key_start)
        opening = self._text[start : start + 1]
        if opening in ("{", "["):
            if len(path) > MAX_DEPTH:
                self._found.append((f"nested deeper than {MAX_DEPTH} levels", start))
                raise _TooDeep
            return self._members(start, path) if opening == "{" else self._items(start, path)
        if opening == '"':
            return int(scanstring(self._text, start + 1)[1])
        match = _SCALAR.match(self._text, start)
        if match is None:
            raise json.JSONDecodeError("Expecting value", self._text, start)
        self._check_scalar(match.group(), start)
        return match.end()

    def _check_scalar(self, word: str, start: int) -> None:
        if word in ("NaN", "Infinity", "-Infinity"):
            self._found.append((str(NotStrictError("constant", word)), start))
            return
        try:
            number = json.loads(word)
            if isinstance(number, float) and not math.isfinite(number):
                self._found.append((str(NotStrictError("number", word)), start))
        except json.JSONDecodeError:
            raise json.JSONDecodeError("Expecting value", self._text, start) from None
        except ValueError:
            self._found.append(("the number has too many digits", start))

    def _members(self, start: int, path: Path) -> int:
        seen: set[str] = set()
        position = self._skip(start + 1)
        while self._text[position : position + 1] != "}":
            if self._text[position : position + 1] != '"':
                raise json.JSONDecodeError("Expecting property name enclosed in double quotes", self._text, position)
            key_start = position
            key, position = scanstring(self._text, position + 1)
            if key in seen:
                self._found.append((f"the key {key!r} appears twice; only one of them would be used", key_start))
            seen.add(key)
            position = self._skip(position)
            if self._text[position : position + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", self._text, position)
            position = self._value(self._skip(position + 1), (*path, key), key_start)
            position = self._separator(position, "}")
        return position + 1

    def _items(self, start: int, path: Path) -> int:
        index = 0
        position = self._skip(start + 1)
        while self._text[position : position + 1] != "]":
            position = self._value(position, (*path, index), position)
            position = self._separator(position, "]")
            index += 1
        return position + 1

    def _separator(self, position: int, closing: str) -> int:
        position = self._skip(position)
        sign = self._text[position : position + 1]
        if sign == ",":
            behind = self._skip(position + 1)
            if self._text[behind : behind + 1] == closing:
                raise json.JSONDecodeError(f"a comma before '{closing}'", self._text, position)
            return behind
        if sign != closing:
            raise json.JSONDecodeError("Expecting ',' delimiter", self._text, position)
        return position
