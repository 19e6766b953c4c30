"""The page a person looks at: what the CRM holds and what was sent to it."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# Everything on the page came from outside; even if an escape were forgotten, no script would run.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
EMPTY = '<p class="empty">None yet.</p>'


@dataclass(frozen=True)
class Content:
    """What the page shows: lists of JSON objects, newest first."""

    contacts: list[dict[str, Any]]
    records: dict[str, list[dict[str, Any]]]
    messages: list[dict[str, Any]]
    requests: list[dict[str, Any]]
    switches: list[dict[str, Any]]


class Raw(str):
    """Text that is HTML already."""

    __slots__ = ()


def cell(value: Any) -> Raw:
    """A value as HTML: text escaped, structures as JSON."""
    if isinstance(value, Raw):
        return value
    if value is None or value == "":
        return Raw('<span class="none">–</span>')
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Raw(escape(text if len(text) <= 300 else text[:300] + "…"))


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Raw:
    """A table that becomes a list of cards on a phone; a note if there are no rows."""
    lines = []
    for row in rows:
        cells = zip(headings, row, strict=True)
        lines.append("".join(f'<td data-label="{escape(name)}">{cell(value)}</td>' for name, value in cells))
    if not lines:
        return Raw(EMPTY)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headings)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return Raw(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def badge(text: Any, kind: str = "") -> Raw:
    """A small coloured label."""
    return Raw(f'<span class="badge {escape(kind)}">{escape(str(text))}</span>')


def _section(title: str, count: int, content: Raw) -> Raw:
    return Raw(f'<section><h2>{escape(title)} <span class="count">{count}</span></h2>{content}</section>')


def _outcome(entry: dict[str, Any]) -> Raw:
    status = entry["status"]
    if status is None:
        parts = [badge(f"dropped {entry['dropped']}", "bad")]
    else:
        parts = [badge(status, "good" if status < 300 else "warn" if status < 500 else "bad")]
    if entry["applied"]:
        parts.append(badge("applied", "good"))
    if entry["replayed"]:
        parts.append(badge("replayed"))
    return Raw(" ".join(parts))


def _requests(entries: list[dict[str, Any]]) -> Raw:
    rows = []
    for entry in entries:
        query = "&".join(f"{name}={value}" for name, value in entry["query"])
        target = f"{entry['path']}?{query}" if query else entry["path"]
        body = entry["body_text"]
        shown = f"<details><summary>{entry['body_size']} bytes</summary><pre>{escape(body)}</pre></details>"
        rows.append((entry["id"], entry["received_at"], entry["method"], target, _outcome(entry), Raw(shown)))
    return table(("No.", "Received", "Method", "Target", "Outcome", "Body"), rows)


def _contacts(contacts: list[dict[str, Any]]) -> Raw:
    shown = ("id", "name", "phone", "tags", "created_at", "updated_at")
    rows = [
        (
            contact["id"],
            contact["name"],
            contact["phone"],
            Raw(" ".join(badge(tag) for tag in contact["tags"])) if contact["tags"] else None,
            {name: value for name, value in contact.items() if name not in shown} or None,
            contact["updated_at"],
        )
        for contact in contacts
    ]
    return table(("Id", "Name", "Phone", "Tags", "More", "Updated"), rows)


def _records(records: list[dict[str, Any]]) -> Raw:
    return table(("Id", "Data", "Received"), [(item["id"], item["data"], item["created_at"]) for item in records])


def _switches(switches: list[dict[str, Any]]) -> Raw:
    rows = []
    for switch in switches:
        rule = {name: value for name, value in switch.items() if name not in ("seen", "fired")}
        rows.append((rule, switch["seen"], switch["fired"]))
    return table(("Switch", "Requests covered", "Fired"), rows)


def page(content: Content, refresh: int | None = None) -> str:
    """The whole page.

    Args:
        content: What to show.
        refresh: Seconds until the browser loads it again; None for never.
    """
    seconds = max(1, refresh) if refresh else None
    meta = f'<meta http-equiv="refresh" content="{seconds}">' if seconds else ""
    link = '<a href="/">Stop refreshing</a>' if seconds else '<a href="/?refresh=2">Refresh every 2 s</a>'
    state = badge("a switch is on", "bad") if content.switches else badge("all well", "good")
    sections = [
        _section("Contacts", len(content.contacts), _contacts(content.contacts)),
        _section("Latest requests", len(content.requests), _requests(content.requests)),
        _section("Active switches", len(content.switches), _switches(content.switches)),
        *(_section(kind.capitalize(), len(found), _records(found)) for kind, found in content.records.items()),
        _section("Messages", len(content.messages), _records(content.messages)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Demo CRM</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark">{meta}<style>{STYLE}</style></head><body>'
        f"<header><h1>Demo CRM {state}</h1><nav>{link}</nav></header><main>{''.join(sections)}</main></body></html>"
    )
