"""What the server received and what it did about it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from demo_crm.storage import Storage, now

# 10 kB of a body tell what it is; the hash proves the rest.
BODY_LIMIT = 10_000
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-token"})


@dataclass
class Entry:
    """One request as it arrived, and its fate.

    `status` is the status sent, None if the connection was dropped. `applied` says whether the request changed what
    the CRM keeps; a replayed reply changes nothing.
    """

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    body_size: int
    body_sha256: str
    body_text: str
    received_at: str = field(default_factory=now)
    applied: bool = False
    replayed: bool = False
    dropped: str | None = None
    status: int | None = None


def entry_of(scope: dict[str, Any], body: bytes) -> Entry:
    """An ASGI request as a log entry, without the values of headers that carry secrets."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return Entry(
        method=scope["method"],
        path=scope["path"],
        query=parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
        headers=[(name, "***" if name.lower() in SECRET_HEADERS else value) for name, value in headers],
        body_size=len(body),
        body_sha256=hashlib.sha256(body).hexdigest(),
        body_text=body[:BODY_LIMIT].decode("utf-8", "replace"),
    )


class RequestLog:
    """The entries, in the order in which the requests were settled."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, entry: Entry) -> None:
        """Keep one entry."""
        data = json.dumps(asdict(entry))
        self._storage.execute("INSERT INTO requests (received_at, data) VALUES (?, ?)", entry.received_at, data)

    def read(self, *, after: int = 0, limit: int = -1) -> list[dict[str, Any]]:
        """Entries in order, each with its `id`.

        Args:
            after: Leave out entries up to this id.
            limit: At most so many; -1 for all.
        """
        rows = self._storage.rows("SELECT id, data FROM requests WHERE id > ? ORDER BY id LIMIT ?", after, limit)
        return [{"id": row["id"], **json.loads(row["data"])} for row in rows]

    def latest(self, limit: int) -> list[dict[str, Any]]:
        """The newest entries first."""
        rows = self._storage.rows("SELECT id, data FROM requests ORDER BY id DESC LIMIT ?", limit)
        return [{"id": row["id"], **json.loads(row["data"])} for row in rows]

    def clear(self) -> None:
        """Forget everything."""
        self._storage.execute("DELETE FROM requests")
