"""The CRM as an ASGI application."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from demo_crm.bodies import RefusedError
from demo_crm.contacts import Contacts, contacts_router
from demo_crm.gate import Gate
from demo_crm.idempotency import SavedReplies
from demo_crm.intake import intake_router, threads_router
from demo_crm.media import media_router
from demo_crm.page import CONTENT_SECURITY_POLICY, Content, page
from demo_crm.request_log import RequestLog
from demo_crm.storage import Storage
from demo_crm.switches import Switchboard


def create_app(database: str | Path) -> FastAPI:
    """Make a CRM of its own; two of them share nothing.

    Args:
        database: Path of its SQLite file, made if absent; `:memory:` keeps nothing.
    """
    storage = Storage(database)
    log = RequestLog(storage)
    switchboard = Switchboard()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        storage.close()

    # FastAPI's pages of documentation load scripts from other hosts.
    app = FastAPI(
        title="Demo CRM", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.include_router(contacts_router(storage))
    app.include_router(intake_router(storage))
    app.include_router(threads_router(storage))
    app.include_router(media_router())
    app.include_router(_desk_router(storage, log, switchboard))
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Gate, storage=storage, log=log, replies=SavedReplies(storage), switchboard=switchboard)
    return app


def _desk_router(storage: Storage, log: RequestLog, switchboard: Switchboard) -> APIRouter:
    router = APIRouter()
    contacts = Contacts(storage)

    @router.get("/")
    async def overview(refresh: int | None = None) -> HTMLResponse:
        content = Content(
            contacts=contacts.all()[::-1][:100],
            records={kind: storage.latest(kind, 20) for kind in ("leads", "documents", "tickets", "notes", "threads")},
            messages=storage.latest("messages", 20),
            requests=log.latest(30),
            switches=switchboard.describe(),
        )
        return HTMLResponse(page(content, refresh), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})

    @router.get("/_health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/_requests")
    async def requests(after: int = 0, limit: int = -1) -> list[dict[str, Any]]:
        return log.read(after=after, limit=limit)

    @router.delete("/_requests")
    async def forget() -> Response:
        log.clear()
        return Response(status_code=204)

    @router.get("/_switches")
    async def switches() -> dict[str, Any]:
        return {"switches": switchboard.describe()}

    @router.put("/_switches")
    async def set_switches(request: Request) -> dict[str, Any]:
        try:
            switchboard.set(json.loads(await request.body()))
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise RefusedError(422, "bad_switch", faults) from None
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, "malformed_json", f"The body is not JSON: {error}") from None
        return {"switches": switchboard.describe()}

    @router.delete("/_switches")
    async def clear_switches() -> Response:
        switchboard.clear()
        return Response(status_code=204)

    return router


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    return JSONResponse({"error": error.code, "message": error.message}, error.status)


async def _unreadable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return JSONResponse({"error": "bad_request", "message": faults}, 422)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    body = {"error": "not_found" if error.status_code == 404 else "refused", "message": str(error.detail)}
    return JSONResponse(body, error.status_code, error.headers)
