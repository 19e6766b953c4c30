"""Templates: the one place that makes HTML. Every value is escaped."""

from __future__ import annotations

import datetime as dt
import json
import time
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from airflow_whatsapp_flows import __version__
from airflow_whatsapp_flows.flow.masking import mask_text, mask_value
from airflow_whatsapp_flows.flow.reply.excerpt import escape_unprintable
from airflow_whatsapp_flows.plugin.addresses import encode_name
from airflow_whatsapp_flows.plugin.states import FATES, REPLAY_STATES, STATES, is_live, replay_state
from airflow_whatsapp_flows.quantities import duration, plural

_TEMPLATES = Path(__file__).parent / "templates"


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Render a template.

    Args:
        request: the request, whose root path the links start with.
        template: name of the file.
        status: status code of the response.
        **values: for the template.
    """
    root = request.scope["root_path"].rstrip("/")
    text = (
        _environment()
        .get_template(template)
        .render(root=root, airflow=root.rpartition("/")[0], version=__version__, now=time.time(), **values)
    )
    return HTMLResponse(text, status)


def problem_page(request: Request, title: str, remedy: str, status: int) -> Response:
    """Render the page of an error, which says what to do; for a script of ours, as JSON."""
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"message": f"{title}. {masked_line(remedy)}"}, status)
    return page(request, "problem.html", status, title=title, remedy=masked_line(remedy))


def query_of(**parameters: Any) -> str:
    """Return a query string with its question mark; parameters without a value are left out."""
    given = {name: value for name, value in parameters.items() if value not in (None, "", False, [])}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def masked_line(text: object, most: int = 500) -> str:
    """Return a text for people: shortened, with phone numbers and e-mail addresses masked, controls escaped."""
    whole = "" if text is None else str(text)
    cut = escape_unprintable(" ".join(mask_text(whole[:most]).split()))
    return cut if len(whole) <= most else f"{cut}…"


def text_block(text: str, most: int) -> str:
    """Return a text of several lines for people: shortened, with other controls escaped."""
    cut = "\n".join(map(escape_unprintable, text[:most].split("\n")))
    return cut if len(text) <= most else f"{cut}…"


def name(text: object, most: int = 200) -> str:
    """Return a name or an id for people: shortened, with controls escaped."""
    whole = "" if text is None else str(text)
    cut = escape_unprintable(whole[:most])
    return cut if len(whole) <= most else f"{cut}…"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else duration(seconds)


def moment(value: float | dt.datetime | None) -> dt.datetime | None:
    """Return a time in UTC."""
    if isinstance(value, dt.datetime) or value is None:
        return value
    return dt.datetime.fromtimestamp(value, dt.timezone.utc)


def json_block(text: str, most: int = 8000) -> str:
    """Return JSON with indents, and any other text as it is, as :func:`text_block` does."""
    if text.startswith(("{", "[")):
        with suppress(ValueError, RecursionError):  # it was shortened, or is no JSON
            text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return text_block(text, most)


def _json_text(value: object, most: int = 1000) -> str:
    """Return a value as JSON in one line, shortened."""
    return name(json.dumps(value, ensure_ascii=False), most)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        encoded=encode_name, quoted=partial(quote, safe=""), shown=masked_line, name=name, duration=_duration,
        moment=moment, count=plural, masked_value=lambda value: name(mask_value(value)), tojson_text=_json_text,
        json_block=json_block,
    )  # fmt: skip
    environment.tests["live"] = lambda replay: is_live(replay, replay.states)
    environment.globals.update(
        FATES=FATES, STATES=STATES, REPLAY_STATES=REPLAY_STATES, query_of=query_of, replay_state=replay_state,
        is_live=is_live,
    )  # fmt: skip
    return environment
