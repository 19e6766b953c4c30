"""Secrets that are written into a flow file: refused where a connection or a variable can hold them, else hidden.

Whoever sees its repository, its DAG or the ledger reads a flow file. What is a secret for sure is refused. What may be
one, such as the token in the address of a webhook, is sent, marked in whatever is recorded, and stored as a digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_whatsapp_flows.flow.concealing import credential_spans, literal_text, secret_spans
from airflow_whatsapp_flows.flow.json_source import FlowFault, Path, texts_in
from airflow_whatsapp_flows.flow.secrets import KEY_SHAPES, SCHEMES, SHORTEST, names_credential

_REQUEST = ("url", "headers", "query_params", "body")
_LONG = 16
"""A secret with at least this many characters cannot be recovered from its digest by brute force."""
_DIGEST = re.compile(r"sha256-[0-9a-f]{24}|hidden-0{24}")
_PERCENT_PLACEHOLDER = re.compile(r"%[a-z_]+\.[^%\"]*%")
_NO_SECRET = re.compile(rf"(?:true|false|null|none|no|yes|{SCHEMES}|\W*)", re.IGNORECASE)


def check_literal_secrets(value: Mapping[str, Any]) -> list[FlowFault]:
    """A fault for each literal secret in the requests of a flow.

    Args:
        value: the file as plain data.
    """
    listed = value.get("not_secret")
    allowed = {name.casefold() for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
    steps, variables = value.get("steps"), value.get("variables")
    faults: list[FlowFault] = []
    for name, variable in variables.items() if isinstance(variables, dict) else ():
        default = _literal(variable.get("default")) if isinstance(variable, dict) else None
        if default is not None and names_credential(name) and name.casefold() not in allowed:
            path: Path = ("variables", name, "default")
            message = f"the default is a literal secret: pass it with each response, and list {_reference(name)} in"
            faults.append(FlowFault(f"{message} 'sensitive'{_otherwise(name)}", path))
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        if not isinstance(step, dict) or step.get("type") != "action":
            continue
        for path, offset, name, message in _find_secrets(step):
            if name.casefold() not in allowed:
                place = ("steps", index, *path)
                faults.append(FlowFault(message, place, str(step.get("name")), offset))
    return faults


def possible_secrets(value: Mapping[str, Any]) -> tuple[str, ...]:
    """Literal texts in the requests of a flow that are hidden wherever they are recorded, in order.

    Args:
        value: the file of a flow without faults, as plain data.
    """
    found: dict[str, None] = {}
    for step in _actions(value):
        for key in ("url", "headers"):
            for _, text in texts_in(step.get(key)):
                found.update(
                    dict.fromkeys(text[start:end] for start, end in secret_spans(text) if end - start >= SHORTEST)
                )
        for key in ("query_params", "body"):
            for _, text in texts_in(step.get(key)):
                found.update(dict.fromkeys(text[start:end] for _, start, end in credential_spans(text)))
    return tuple(text for text in found if not _DIGEST.fullmatch(text))


def source_for_storage(value: Mapping[str, Any], secrets: tuple[str, ...]) -> str:
    """A flow file as the ledger keeps it, JSON: with a digest for each of its possible secrets.

    Args:
        value: the file as plain data, in the order of the bytes sent.
        secrets: of :func:`possible_secrets`.
    """
    if secrets:
        steps = [
            {key: _replace_secrets(item, secrets) if key in _REQUEST else item for key, item in step.items()}
            if step["type"] == "action"
            else step
            for step in value["steps"]
        ]
        value = {**value, "steps": steps}
    return json.dumps(value, ensure_ascii=False)


def lacks_secrets(stored: str) -> bool:
    """Whether a flow file of the ledger cannot be sent with, since digests stand in place of secrets."""
    return _DIGEST.search(stored) is not None


def _actions(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (step for step in value["steps"] if step["type"] == "action")


def _replace_secrets(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _replace_secrets(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace_secrets(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in sorted(secrets, key=len, reverse=True):
            value = value.replace(secret, _digest(secret))
    return value


def _digest(secret: str) -> str:
    if len(secret) < _LONG:
        return f"hidden-{'0' * 24}"
    return f"sha256-{hashlib.sha256(secret.encode('utf-8', 'replace')).hexdigest()[:24]}"


_Found = tuple[Path, int, str, str]
"""Path in the step, offset in the text there, name it is assigned to, message."""


def _find_secrets(step: Mapping[str, Any]) -> Iterator[_Found]:
    headers = step.get("headers")
    for name, text in headers.items() if isinstance(headers, dict) else ():
        literal = _literal(text)
        if literal is not None and (names_credential(name) or KEY_SHAPES.search(literal)):
            yield ("headers", name), 0, name, _header_message(name, literal, step.get("connection"))
    url = step.get("url")
    query = url.find("?") + 1 if isinstance(url, str) else 0
    for name, start, _ in credential_spans(str(url)[query:]) if query else ():
        yield ("url",), query + start, name, _value_message("the query", name)
    for path, name in _in_query(step.get("query_params")):
        yield ("query_params", *path), 0, name, _value_message("the query", name)
    body = step.get("body")
    for name, start, _ in credential_spans(body) if isinstance(body, str) else ():
        yield ("body",), start, name, _value_message("the body", name)
    for path, name in _under("", body) if not isinstance(body, str) else ():
        yield ("body", *path), 0, name, _value_message("the body", name)


def _in_query(parameters: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(parameters, dict):
        yield from _under("", parameters)
    for index, pair in enumerate(parameters) if isinstance(parameters, list) else ():
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str):
            for path, name in _under(pair[0], pair[1]):
                yield (index, 1, *path), name


def _under(name: str, value: Any) -> Iterator[tuple[Path, str]]:
    """Literal secrets in plain data: the place and the name of each."""
    if isinstance(value, dict):
        # A part of a multipart body, a pair of a form: {"name": "password", "value": "…"}.
        named = value.get("name") if isinstance(value.get("name"), str) and "value" in value else None
        for key, item in value.items():
            for path, found in _under(named if named is not None and key == "value" else key, item):
                yield (key, *path), found
    elif isinstance(value, list):
        is_pair = len(value) == 2 and isinstance(value[0], str)
        for index, item in enumerate(value):
            for path, found in _under(str(value[0]) if is_pair and index else name, item):
                yield (index, *path), found
    else:
        literal = _literal(value)
        if literal is None:
            return
        if KEY_SHAPES.search(literal) or (names_credential(name) and not re.search(r"\s", literal)):
            yield (), name


def _literal(value: Any) -> str | None:
    """A text without its placeholders and the name of a scheme, if it could be a secret."""
    if not isinstance(value, str):
        return None
    text = _PERCENT_PLACEHOLDER.sub(" ", literal_text(value)).strip()
    return None if len(text) < SHORTEST or _NO_SECRET.fullmatch(text) else text


def _header_message(name: str, literal: str, connection: Any) -> str:
    scheme = literal.partition(" ")[0].lower()
    place = f"the connection {connection!r}" if isinstance(connection, str) else "a connection of type whatsapp_action"
    if name.lower() == "authorization" and scheme == "bearer":
        way = f'give {place} "auth": "bearer" and the token as its password'
    elif name.lower() == "authorization" and scheme == "basic":
        way = f"give {place} the login and the password"
    else:
        way = f'list it in "headers" of the extra of {place}'
    named = "" if isinstance(connection, str) else ", and name that in 'connection'"
    return f"the header {name!r} contains a literal secret: {way}{named}{_otherwise(name)}"


def _value_message(part: str, name: str) -> str:
    variable = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "secret"
    variable = f"secret_{variable}" if variable[0].isdigit() else variable
    reference = f"flow_execution_variables.{variable}"
    return (
        f"{part} contains a literal secret{f' under {name!r}' if name else ''}: write {{{{ {reference} }}}}, list "
        f"{reference!r} in 'sensitive', and pass it with each response{_otherwise(name)}"
    )


def _reference(variable: str) -> str:
    return repr(f"flow_execution_variables.{variable}")


def _otherwise(name: str) -> str:
    return f"; if it is not a secret, list {name!r} in 'not_secret'" if name else ""
