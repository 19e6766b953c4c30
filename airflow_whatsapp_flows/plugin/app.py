"""The pages as a FastAPI application, which Airflow mounts under ``/whatsapp-flows``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles

from airflow_whatsapp_flows.errors import ConnectionConfigError, LedgerError
from airflow_whatsapp_flows.ledger.reader import MissingLedgerError
from airflow_whatsapp_flows.plugin import (
    actions,
    contact_page,
    erase_page,
    flow_tab,
    overview,
    people_page,
    replay_page,
    request_tab,
    retries,
    walk_tab,
)
from airflow_whatsapp_flows.plugin.rendering import problem_page

_STATIC = Path(__file__).parent / "static"
_PAGES = (
    overview, contact_page, replay_page, people_page, erase_page, request_tab, walk_tab, flow_tab, actions,
    retries,
)  # fmt: skip
_HEADERS = {
    # Whatever gets into a page in spite of the escaping runs nowhere, and sends nothing anywhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def create_app() -> FastAPI:
    """Create the application."""
    # A mounted application has its own documentation pages, and these would be public.
    app = FastAPI(title="WhatsApp flows", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_protect)
    app.add_exception_handler(HTTPException, _answer_refusal)
    app.add_exception_handler(RequestValidationError, _answer_invalid_address)
    app.add_exception_handler(LedgerError, _answer_ledger_error)
    app.add_exception_handler(ConnectionConfigError, _answer_ledger_error)
    app.mount("/static", StaticFiles(directory=_STATIC))
    for module in _PAGES:
        app.include_router(module.router)
    return app


async def _protect(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    is_static = request.url.path.startswith(f"{request.scope['root_path']}/static/")
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    # The URLs of static files carry the version of the package. Pages have personal data.
    response.headers["Cache-Control"] = "private, max-age=86400" if is_static else "no-store"
    return response


async def _answer_refusal(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    title, remedy = {
        401: (
            "You are not logged in",
            "Log in to Airflow, then reload this page.",
        ),
        403: ("This is not allowed", str(getattr(error, "detail", ""))),
        404: ("There is nothing here", str(getattr(error, "detail", ""))),
        405: ("This is refused", "This address does not support that method."),
    }.get(status, ("This did not work", str(getattr(error, "detail", ""))))
    response = problem_page(request, title, remedy, status)
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def _answer_invalid_address(request: Request, _error: Exception) -> Response:
    return problem_page(request, "This address is not valid", "A parameter in it is missing or wrong.", 422)


async def _answer_ledger_error(request: Request, error: Exception) -> Response:
    if isinstance(error, MissingLedgerError):
        return problem_page(request, "There is no ledger yet", f"{error}.", 404)
    return problem_page(request, "The ledger cannot be read", str(error), 503)
