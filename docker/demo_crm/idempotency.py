"""Idempotency-Key, as in draft-ietf-httpapi-idempotency-key-header (revision 07), for POST and PATCH.

What the draft leaves open, and what this server does:

- §2.1: the value is a Structured Field string (`"abc"`). Many clients send it bare, so `abc` and `"abc"` are one key.
- §2.3: keys do not expire; they live as long as the database.
- §2.4: the fingerprint covers the method, the target and the whole body.
- §2.6, a retry after completion: the first reply again, whether success or error, with `Idempotent-Replayed: true`.
  "The first reply" is what the CRM answered, even if a switch kept it from the client: switches stand for the road.
- §2.6, a retry while the first is being worked on: 409.
- §2.7: the same key with another request: 422. A key that is empty, longer than 255 or given twice: 400. A request
  without a key is served, as no operation here requires one.
"""

import hashlib
import json
import re
from dataclasses import dataclass

from demo_crm.bodies import RefusedError
from demo_crm.storage import Storage, now

METHODS = frozenset({"POST", "PATCH"})
LONGEST = 255


@dataclass(frozen=True)
class Reply:
    """A complete HTTP reply."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def key_of(method: str, headers: list[tuple[bytes, bytes]]) -> str | None:
    """The request's key, or None if it has none or its method takes none.

    Raises:
        RefusedError: 400 for a key that is unusable.
    """
    values = [value.decode("latin-1").strip() for name, value in headers if name.lower() == b"idempotency-key"]
    if method not in METHODS or not values:
        return None
    if len(values) > 1:
        raise RefusedError(400, "idempotency_key", "Idempotency-Key is given more than once")
    quoted = re.fullmatch(r'"((?:[^"\\]|\\["\\])*)"', values[0])
    key = re.sub(r'\\(["\\])', r"\1", quoted[1]) if quoted else values[0]
    if not 0 < len(key) <= LONGEST:
        raise RefusedError(400, "idempotency_key", f"Idempotency-Key must have 1 to {LONGEST} characters")
    return key


def fingerprint(method: str, target: str, body: bytes) -> str:
    """What makes two requests the same (§2.4)."""
    return hashlib.sha256(f"{method} {target}\n".encode() + body).hexdigest()


class SavedReplies:
    """The replies given so far, by key, and the keys being worked on.

    The latter are not stored: when the process dies, so does the work.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._working: dict[str, str] = {}

    def begin(self, key: str, print_: str) -> Reply | None:
        """Take the key, or return the reply saved for it.

        Raises:
            RefusedError: 422 if the key was used for another request, 409 if it is being worked on.
        """
        row = self._storage.row("SELECT * FROM idempotency WHERE key = ?", key)
        known = self._working.get(key) or (row["fingerprint"] if row else None)
        if known not in (None, print_):
            raise RefusedError(422, "idempotency_key_reused", "This Idempotency-Key was used for another request")
        if key in self._working:
            raise RefusedError(409, "idempotency_key_in_use", "A request with this Idempotency-Key is being worked on")
        if row is None:
            self._working[key] = print_
            return None
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(row["headers"])]
        return Reply(row["status"], [*headers, (b"idempotent-replayed", b"true")], row["body"])

    def save(self, key: str, reply: Reply) -> None:
        """Keep the reply; call it in the transaction that applied the request."""
        headers = json.dumps([(name.decode("latin-1"), value.decode("latin-1")) for name, value in reply.headers])
        values = (key, self._working[key], reply.status, headers, reply.body, now())
        self._storage.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?, ?, ?)", *values)

    def release(self, key: str) -> None:
        """The key is no longer worked on."""
        self._working.pop(key, None)
