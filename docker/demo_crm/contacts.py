"""The contacts of the CRM, as JSON."""

import json
import sqlite3
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from demo_crm.bodies import Id, RefusedError, json_object
from demo_crm.storage import Storage, now

RESERVED = ("id", "name", "phone", "tags", "created_at", "updated_at")


def contact_of(row: sqlite3.Row) -> dict[str, Any]:
    """A row as the API shows it: known fields first, extra fields beside them."""
    return {
        "id": row["id"],
        "name": row["name"],
        "phone": row["phone"],
        "tags": json.loads(row["tags"]),
        **json.loads(row["extra"]),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def checked(given: dict[str, Any], *, needs_phone: bool) -> dict[str, Any]:
    """The given fields, if they are of the right kind.

    Raises:
        RefusedError: 422, naming the field.
    """
    phone = given.get("phone")
    if needs_phone and (phone is None or phone == ""):
        raise RefusedError(422, "phone_missing", "A contact needs a phone")
    if "phone" in given and not (isinstance(phone, str) and phone.strip()):
        raise RefusedError(422, "phone_invalid", "phone must be a non-empty string")
    if not isinstance(given.get("name"), (str, type(None))):
        raise RefusedError(422, "name_invalid", "name must be a string or null")
    tags = given.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise RefusedError(422, "tags_invalid", "tags must be a list of strings")
    return given


class Contacts:
    """Contacts by id and by phone; a phone belongs to one contact."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def all(self, phone: str | None = None) -> list[dict[str, Any]]:
        """Every contact, or the one with that phone, by id."""
        rows = self._storage.rows("SELECT * FROM contacts WHERE ?1 IS NULL OR phone = ?1 ORDER BY id", phone)
        return [contact_of(row) for row in rows]

    def get(self, contact_id: int) -> dict[str, Any]:
        """One contact.

        Raises:
            RefusedError: 404.
        """
        row = self._storage.row("SELECT * FROM contacts WHERE id = ?", contact_id)
        if row is None:
            raise RefusedError(404, "not_found", f"There is no contact {contact_id}")
        return contact_of(row)

    def add(self, given: dict[str, Any]) -> dict[str, Any]:
        """Make a contact.

        Raises:
            RefusedError: 409 if its phone is taken.
        """
        self._refuse_taken(given["phone"])
        time = now()
        cursor = self._storage.execute(
            "INSERT INTO contacts (phone, name, tags, extra, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
            *_columns(given),
            time,
            time,
        )
        return self.get(int(cursor.lastrowid or 0))

    def change(self, contact_id: int, given: dict[str, Any], *, replace: bool = False) -> dict[str, Any]:
        """Overwrite the given fields, or with `replace` all of them.

        Raises:
            RefusedError: 404, or 409 if the phone is another contact's.
        """
        known = self.get(contact_id)
        fields = given if replace else {**known, **given}
        self._refuse_taken(fields["phone"], but=contact_id)
        self._storage.execute(
            "UPDATE contacts SET phone = ?, name = ?, tags = ?, extra = ?, updated_at = ? WHERE id = ?",
            *_columns(fields),
            now(),
            contact_id,
        )
        return self.get(contact_id)

    def remove(self, contact_id: int) -> None:
        """Delete a contact.

        Raises:
            RefusedError: 404.
        """
        self.get(contact_id)
        self._storage.execute("DELETE FROM contacts WHERE id = ?", contact_id)

    def _refuse_taken(self, phone: str, but: int | None = None) -> None:
        row = self._storage.row("SELECT id FROM contacts WHERE phone = ? AND id IS NOT ?", phone, but)
        if row is not None:
            raise RefusedError(409, "phone_taken", f"Contact {row['id']} has this phone")


def _columns(fields: dict[str, Any]) -> tuple[str, str | None, str, str]:
    extra = {name: value for name, value in fields.items() if name not in RESERVED}
    tags = json.dumps(fields.get("tags", []), ensure_ascii=False)
    return fields["phone"], fields.get("name"), tags, json.dumps(extra, ensure_ascii=False)


def contacts_router(storage: Storage) -> APIRouter:
    """`/v1/contacts`."""
    router = APIRouter(prefix="/v1/contacts")
    contacts = Contacts(storage)

    @router.post("")
    async def create(request: Request, upsert: bool = False) -> JSONResponse:
        given = checked(await json_object(request), needs_phone=True)
        known = contacts.all(given["phone"]) if upsert else []
        if known:
            return JSONResponse(contacts.change(known[0]["id"], given))
        contact = contacts.add(given)
        return JSONResponse(contact, 201, {"Location": f"/v1/contacts/{contact['id']}"})

    @router.get("")
    async def listing(phone: str | None = None) -> list[dict[str, Any]]:
        return contacts.all(phone)

    @router.get("/{contact_id}")
    async def show(contact_id: Id) -> dict[str, Any]:
        return contacts.get(contact_id)

    @router.put("/{contact_id}")
    async def replace(contact_id: Id, request: Request) -> dict[str, Any]:
        return contacts.change(contact_id, checked(await json_object(request), needs_phone=True), replace=True)

    @router.patch("/{contact_id}")
    async def change(contact_id: Id, request: Request) -> dict[str, Any]:
        return contacts.change(contact_id, checked(await json_object(request), needs_phone=False))

    @router.delete("/{contact_id}")
    async def remove(contact_id: Id) -> Response:
        contacts.remove(contact_id)
        return Response(status_code=204)

    return router
