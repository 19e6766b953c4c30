"""Who a contact is: every identifier that it is known by, in the form in which identifiers are compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from airflow_whatsapp_flows.flow.phones import has_several_phones, looks_like_phone, phone_key
from airflow_whatsapp_flows.flow.storable import storable_text
from airflow_whatsapp_flows.flow.template.references import Reference

PHONE = "phone"
EMAIL = "email"
ID_KINDS = ("id", "user_id")
"""Fields of a contact that are compared exactly: the platform's ID, and WhatsApp's business-scoped ID."""
_ID_KINDS = frozenset(ID_KINDS)
IDENTIFIER_SCOPES = ("contact", "flow_execution_variables")
"""Scopes in which a flow can declare its own identifiers."""

Identifier = tuple[str, str]
"""Kind and value: ``("email", "ana@example.com")``."""

_EMAIL_FORM = re.compile(r"[^@\s]+@[^@\s]+")
_ID_PREFIX = "id:"
_MAX_VALUE = 320  # characters; the longest e-mail address
_MAX_PHONE_TEXT = 64
_SHORT_ID = re.compile(r"[0-9]{1,6}")  # too short for a phone number
_NOTHING: Mapping[str, Any] = {}


class Identity(Struct, frozen=True):
    """The identifiers of one contact.

    Attributes:
        phone: key of its phone number, see :func:`~airflow_whatsapp_flows.flow.phones.phone_key`.
        phone_text: what stands in place of a phone number and cannot be compared with one.
        others: its identifiers besides the phone; also a second phone, where ``canonical_phone`` is another number.
    """

    phone: str | None = None
    phone_text: str | None = None
    others: tuple[Identifier, ...] = ()

    @property
    def phone_for_storage(self) -> str | None:
        """What the ledger keeps in its column of phones."""
        if self.phone is None and self.phone_text is not None:
            # What holds no digit stands for nobody: "n/a" is not one person.
            return self.phone_text if any(sign.isdigit() for sign in self.phone_text) else None
        return self.phone

    @property
    def marks(self) -> tuple[str, ...]:
        """Every identifier as one text: two contacts that share one are the same person."""
        phone = self.phone if self.phone is not None else self.phone_for_storage
        marks = [] if phone is None else [f"{PHONE}:{phone}"]
        if self.others:
            marks += [f"{kind}:{value}" for kind, value in self.others]
        return tuple(marks)

    @property
    def is_comparable(self) -> bool:
        """Whether there is an identifier, and no phone number that nobody can read."""
        return self.phone_text is None and (self.phone is not None or bool(self.others))


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """How a flow identifies contacts.

    Attributes:
        country: default country of phone numbers without a country code (ISO 3166-1 alpha-2).
        listed: identifiers of the flow's own, such as ``contact.meta.crm_id``.
    """

    country: str | None = None
    listed: tuple[Reference, ...] = field(default=())

    def of(self, contact: Mapping[str, Any], variables: Mapping[str, Any] = _NOTHING) -> Identity:
        """Identify a contact.

        Args:
            contact: its fields.
            variables: its flow execution variables.
        """
        written = contact.get("phone")
        phone = None if written is None else phone_key(written, self.country)
        others: list[Identifier] = []
        if not _ID_KINDS.isdisjoint(contact):
            others += [(kind, text) for kind in ID_KINDS if (text := _id_text(contact.get(kind))) is not None]
        email = contact.get("email")
        if email is not None and (text := email_key(email)) is not None:
            others.append((EMAIL, text))
        canonical = contact.get("canonical_phone")
        if canonical is not None and (second := phone_key(canonical, self.country)) is not None:
            if phone is None:
                phone = second
            elif second != phone:
                others.append((PHONE, second))
        for reference in self.listed:
            text = _id_text(_resolve(reference, contact, variables))
            if text is not None:
                others.append((identifier_kind(reference), text))
        phone_text = _phone_text(written) if phone is None and written is not None else None
        return Identity(phone, phone_text, tuple(others))


class OptOut:
    """Contacts that nothing is sent for.

    An entry is a phone number, an e-mail address, or an id, whichever its form says; ``id:…`` is an id in any form.

    Args:
        entries: as a flow lists them.
        country: default country of phone numbers without a country code.

    Raises:
        ValueError: an entry can never match a contact; says which, and why.
    """

    def __init__(self, entries: Iterable[str], country: str | None = None) -> None:
        self._values: dict[str, set[str]] = {}
        digits: set[str] = set()
        for entry in entries:
            kind, value = read_opt_out(entry, country)
            self._values.setdefault(kind, set()).add(value)
            if kind == PHONE:
                digits.add(entry.strip())  # WhatsApp's id of a person may be the phone number
        self._ids = self._values.get("id", set()) | digits

    def __bool__(self) -> bool:
        return bool(self._values)

    def holds(self, identity: Identity) -> bool:
        """Whether one of a contact's identifiers is listed."""
        if identity.phone is not None and identity.phone in self._values.get(PHONE, ()):
            return True
        for kind, value in identity.others:
            if value in (self._values.get(kind, ()) if kind in (PHONE, EMAIL) else self._ids):
                return True
        return False

    def reason_unchecked(self, identity: Identity) -> str | None:
        """What a contact lacks for the list to say anything about it; ``None`` when nothing."""
        if PHONE in self._values and identity.phone_text is not None:
            return f"opt_out lists phones, and {UNREADABLE_PHONE}"
        kinds = {kind if kind in (PHONE, EMAIL) else "id" for kind, _ in identity.others}
        if identity.phone is not None:
            kinds.add(PHONE)
        if kinds & self._values.keys():
            return None
        return f"opt_out lists {_join(_LISTED[kind] for kind in self._values)}, but the contact has none"


UNREADABLE_PHONE = (
    "contact.phone cannot be compared: write the number with + and its country code, or set default_country"
)
_LISTED = {PHONE: "phones", EMAIL: "e-mail addresses", "id": "ids"}


def read_opt_out(entry: str, country: str | None = None) -> Identifier:
    """What an entry of ``opt_out`` lists, by its form.

    Raises:
        ValueError: it can never match a contact; says why.
    """
    text = entry.strip()
    if text.startswith(_ID_PREFIX):
        value = text.removeprefix(_ID_PREFIX).strip()
        if not value:
            raise ValueError(f"{entry!r} does not identify anyone: write an ID after 'id:'")
        return "id", value
    if has_several_phones(text):
        raise ValueError(f"{entry!r} contains several phone numbers; write each as a separate entry")
    phone = phone_key(text, country)
    if phone is not None:
        return PHONE, phone
    if "@" in text:
        email = email_key(text)
        if email is None:
            raise ValueError(f"{entry!r} is not an e-mail address; if it is an ID, write 'id:{text}'")
        return EMAIL, email
    if looks_like_phone(text) and not _SHORT_ID.fullmatch(text):
        fix = "" if country else ", or set 'default_country'"
        raise ValueError(
            f"{entry!r} is not a phone number that can be compared: write it with + and its country code{fix}; if it "
            f"is an ID, write 'id:{text}'"
        )
    if not any(sign.isalnum() for sign in text):
        raise ValueError(
            f"{entry!r} does not identify anyone: an entry must be a phone number, an e-mail address, or an ID"
        )
    return "id", text


def email_key(value: object) -> str | None:
    """A key that is equal for two spellings of one e-mail address; ``None`` when it is none."""
    if not isinstance(value, str) or len(value) > _MAX_VALUE:
        return None
    text = value.strip().casefold()
    return text if _EMAIL_FORM.fullmatch(text) and storable_text(text) == text else None


def identifier_kind(reference: Reference) -> str:
    """The kind of an identifier that a flow lists: its path, such as ``contact.meta.crm_id``."""
    return ".".join((reference.scope, *reference.path))


def _resolve(reference: Reference, contact: Mapping[str, Any], variables: Mapping[str, Any]) -> object:
    found = reference.resolve({"contact": contact, "flow_execution_variables": variables})
    if not isinstance(found, (str, int)) and reference.scope == "contact" and len(reference.path) == 1:
        meta = contact.get("meta")  # contact.<custom> falls through to contact.meta
        return meta.get(reference.path[0]) if isinstance(meta, Mapping) else None
    return found


def _id_text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value).strip()
    return text if 0 < len(text) <= _MAX_VALUE and storable_text(text) == text else None


def _phone_text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return storable_text(str(value).strip())[:_MAX_PHONE_TEXT] or None


def _join(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
