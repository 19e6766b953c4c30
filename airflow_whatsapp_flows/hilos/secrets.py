"""Moves the secrets of recorded requests into connections and variables, so that the flow contains none."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.secrets import all_spellings, hide
from airflow_whatsapp_flows.hilos.notes import Report
from airflow_whatsapp_flows.hilos.record import Record
from airflow_whatsapp_flows.hilos.record_masking import MASK, Syntax, mask_placeholders
from airflow_whatsapp_flows.hilos.record_versions import Plain
from airflow_whatsapp_flows.hilos.secret_spans import SecretSpan

_KEYS_OF_NAMES = frozenset(
    ["name", "type", "platform_id", "connection", "method", "options", "next", "otherwise", "on_success", "on_error",
     "on_no_answer", "on_answer_failed"]
)  # fmt: skip
_LIKE_A_WORD = re.compile(r".{0,7}|[^\W\d_]{0,15}", re.DOTALL)
"""Secrets that are not searched for elsewhere, because they may also be ordinary words in a message."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a connection must contain, from the records; only names are reported, never values.

    Attributes:
        origin: scheme, host and port; empty if not in the records.
        headers: names and values.
        userinfo: user name and password of a URL; empty if there are none.
    """

    origin: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    userinfo: str = field(default="", repr=False)


class SecretStore:
    """Assigns connections and variables to secrets: the same one to the same secret.

    Attributes:
        variables: names of the variables that replace secrets, with the type of their values.
    """

    def __init__(self, report: Report) -> None:
        self.variables: dict[str, str] = {}
        self._report = report
        self._connections: dict[Credentials, str] = {}
        self._by_secret: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()
        self._values: dict[str, str] = {}

    def reserve(self, names: Collection[str]) -> None:
        """Reserve names of variables that the flow already has."""
        self._taken |= set(names)

    def connection(self, credentials: Credentials, host: str) -> str:
        """Return the id of the connection for these credentials; report a new one.

        Args:
            credentials: what the connection must contain.
            host: basis of the connection's id.
        """
        known = self._connections.get(credentials)
        if known is None:
            known = _free(slug(host) or "api", self._connections.values())
            self._connections[credentials] = known
            self._report_connection(known, credentials)
            for _, value in credentials.headers:
                self._remember(value)
                self._remember(value.rpartition(" ")[2])
            self._remember(credentials.userinfo)
            self._remember(credentials.userinfo.partition(":")[2])
        return known

    def hide(self, record: Record, field: str, text: str, spans: Sequence[SecretSpan]) -> str:
        """Replace each secret in a text of a request with a variable.

        Args:
            record: the step that the report names.
            field: field of the record that holds the text.
            spans: the secrets in it.
        """
        for span in sorted(spans, key=lambda one: one.start, reverse=True):
            name = self._variable(span, text[span.start : span.end])
            text = text[: span.start] + placeholder(name) + text[span.end :]
            message = f"a literal secret was left out; every run must pass it as 'flow_execution_variables.{name}'"
            record.note("secret", field, message)
        return text

    @property
    def values(self) -> tuple[str, ...]:
        """Return every secret, longest first, for masking."""
        return tuple(sorted(self._values, key=len, reverse=True))

    def stand_in(self, secret: str) -> str:
        """Return the placeholder that replaces a secret found in another place."""
        name = self._values[secret]
        if not name:
            name = self._variable(SecretSpan("secret", 0, 0), secret)
        return placeholder(name)

    def _variable(self, span: SecretSpan, secret: str) -> str:
        base = slug(span.name) or "secret"
        base = f"secret_{base}" if base[0].isdigit() else base
        name = self._by_secret.get((base, secret))
        if name is None:
            name = _free(base, {*self.variables, *self._taken})
            self._by_secret[base, secret] = name
            self.variables[name] = "number" if span.is_number else "text"
            self._remember(secret, name)
        return name

    def _remember(self, secret: str, name: str = "") -> None:
        if not _LIKE_A_WORD.fullmatch(secret) and MASK not in secret:
            for form in {secret, json.dumps(secret)[1:-1]}:
                self._values[form] = self._values.get(form) or name

    def _report_connection(self, conn_id: str, credentials: Credentials) -> None:
        names = ", ".join(name for name, _ in credentials.headers) or "user name and password"
        fields = json.dumps(connection_fields(credentials))
        message = (
            f"create the connection {conn_id!r} for {credentials.origin or 'the host of the request'}, with the secret "
            f"of {names} instead of '...': AIRFLOW_CONN_{conn_id.upper()}='{fields}'"
        )
        self._report.add("secret", None, "connection", message)


def scrub(step: Plain, secrets: SecretStore, syntax: Syntax) -> Plain:
    """Remove from a step all secrets found anywhere in the flow: the same key is often used twice.

    Args:
        step: keys of format 1.
        secrets: secrets found in any step.
        syntax: how its texts write variables.
    """
    spelt = all_spellings(secrets.values)

    def clean(value: object) -> object:
        if isinstance(value, str):
            for secret in secrets.values:
                value = _replace(value, secret, secrets, syntax)
            return value
        if isinstance(value, list):
            return [clean(item) for item in value]
        if isinstance(value, dict):
            return {hide(key, spelt): clean(item) for key, item in value.items()}
        return value

    return {key: value if key in _KEYS_OF_NAMES else clean(value) for key, value in step.items()}


def _replace(text: str, secret: str, secrets: SecretStore, syntax: Syntax) -> str:
    at = mask_placeholders(text, syntax).find(secret)
    while at >= 0:
        variable = secrets.stand_in(secret)
        text = text[:at] + variable + text[at + len(secret) :]
        at = mask_placeholders(text, syntax).find(secret, at + len(variable))
    return text


def connection_fields(credentials: Credentials) -> dict[str, object]:
    """Return a connection in the form of ``AIRFLOW_CONN_…``, with ``...`` for its secrets."""
    fields: dict[str, object] = {"conn_type": "whatsapp_action", "host": credentials.origin or "https://..."}
    rest = dict(credentials.headers)
    extra: dict[str, object] = {"auth": "none"}
    name = next((name for name in rest if name.lower() == "authorization"), next(iter(rest), None))
    if credentials.userinfo:
        fields |= {"login": "...", "password": "..."}
        extra = {"auth": "basic"}
    elif name is not None:
        value = rest.pop(name)
        scheme = value.partition(" ")[0].lower()
        if name.lower() == "authorization" and scheme == "basic":
            fields |= {"login": "...", "password": "..."}
            extra = {"auth": "basic"}
        elif name.lower() == "authorization" and value.startswith("Bearer "):
            fields["password"] = "..."  # noqa: S105  # a placeholder
            extra = {"auth": "bearer"}
        else:
            shown = value.partition(" ")[0] if scheme in ("token", "bearer", "apikey") and " " in value else ""
            fields["password"] = f"{shown} ...".strip()
            extra = {"auth": "header", "header_name": name}
    if rest:
        extra["headers"] = dict.fromkeys(rest, "...")
    return {**fields, "extra": extra}


def placeholder(name: str) -> str:
    """Return the placeholder that refers to a variable."""
    return "{{ flow_execution_variables." + name + " }}"


def slug(text: str) -> str:
    """Convert a text to an id: lowercase letters, digits and ``_``."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60].strip("_")


def _free(base: str, taken: Collection[str]) -> str:
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name
