"""A contact response as JSON text: strict, because what is guessed here is sent to somebody's CRM."""

from __future__ import annotations

import json
from typing import Any

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.json_source import MAX_DEPTH, holds_half_pair, is_deeper_than
from airflow_whatsapp_flows.flow.strict_json import NotStrictError, parse_strict_json


class ResponseTextError(ResponseError):
    """A text is no JSON that can be used.

    Attributes:
        code: the kind of fault, stable: ``not_json``, ``duplicate_key``, ``bad_number``, ``too_deep`` or
            ``surrogate``.
        reason: what is wrong, for people.
        position: where in the text, in characters from 0, for ``not_json``; else ``None``.
    """

    def __init__(self, code: str, reason: str, position: int | None = None) -> None:
        self.code = code
        self.reason = reason
        self.position = position
        super().__init__(f"{code}: {reason}")

    def __reduce__(self) -> tuple[type[ResponseTextError], tuple[str, str, int | None]]:
        """How it is pickled."""
        return type(self), (self.code, self.reason, self.position)


def parse_response(text: str) -> Any:
    """Parse the JSON text (RFC 8259) of one contact response.

    Args:
        text: without a byte order mark.

    Returns:
        Plain data for :func:`~airflow_whatsapp_flows.flow.walk.response.read_response`, whatever its shape.

    Raises:
        ResponseTextError: it is not JSON, an object in it has a key twice, a number cannot be held, it is nested
            deeper than 64 levels, or it holds half of a surrogate pair, which is no character and cannot be sent.
    """
    try:
        value = parse_strict_json(text)
    except json.JSONDecodeError as error:
        raise ResponseTextError("not_json", f"not JSON: {error.msg}", error.pos) from None
    except RecursionError:
        raise _too_deep() from None
    except NotStrictError as error:
        raise ResponseTextError(_CODES[error.kind], str(error)) from None
    except ValueError:  # Python reads no integer of more digits than sys.get_int_max_str_digits()
        raise ResponseTextError("bad_number", "a number has too many digits") from None
    # Counting brackets is quick, and only a text with many of them can be deep.
    if text.count("{") + text.count("[") > MAX_DEPTH and is_deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    if holds_half_pair(text, value):
        raise ResponseTextError("surrogate", "half of a surrogate pair is not a character and cannot be sent")
    return value


_CODES = {"constant": "not_json", "number": "bad_number", "key": "duplicate_key"}


def _too_deep() -> ResponseTextError:
    return ResponseTextError("too_deep", f"it is nested deeper than {MAX_DEPTH} levels")
