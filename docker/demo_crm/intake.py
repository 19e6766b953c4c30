"""The other doors of the CRM, one for each kind of body a flow can send."""

import hashlib
import json
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from lxml import etree
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from demo_crm.bodies import Id, RefusedError, expect, form_fields, json_object, merged, xml_root, yaml_value
from demo_crm.storage import Storage

SOAP_NAMESPACES = ("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope")


async def _documents(request: Request) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    expect(request, ("multipart/form-data",))
    try:
        form = await request.form()
    except HTTPException as error:
        raise RefusedError(400, "malformed_form", f"The body is not a multipart form: {error.detail}") from None
    files = []
    for field, value in form.multi_items():
        if isinstance(value, UploadFile):
            content = await value.read()
            described = {"field": field, "name": value.filename, "content_type": value.content_type}
            files.append({**described, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    fields = merged([(name, value) for name, value in form.multi_items() if isinstance(value, str)])
    await form.close()
    if not files:
        raise RefusedError(422, "file_missing", "The form has no file")
    return files, fields


def _ticket(root: etree._Element) -> tuple[str, dict[str, Any]]:
    namespace = etree.QName(root).namespace
    operation = root.find(f"{{{namespace}}}Body/*") if namespace in SOAP_NAMESPACES else None
    if operation is None or etree.QName(root).localname != "Envelope":
        raise RefusedError(400, "not_soap", "The body must be a SOAP envelope with one element in its Body")
    pairs = [(etree.QName(child).localname, "".join(child.itertext())) for child in operation.iterchildren("*")]
    return etree.QName(operation).localname, merged(pairs)


def _envelope(namespace: str, operation: str, values: dict[str, str]) -> bytes:
    root = etree.Element(f"{{{namespace}}}Envelope", nsmap={"soap": namespace})
    answer = etree.SubElement(etree.SubElement(root, f"{{{namespace}}}Body"), operation)
    for name, value in values.items():
        etree.SubElement(answer, name).text = value
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def intake_router(storage: Storage) -> APIRouter:
    """`/v1/orders`, `/v1/leads`, `/v1/documents`, `/v1/notes` and `/soap`."""
    router = APIRouter()

    @router.get("/v1/orders/{number}")
    async def order(number: str) -> dict[str, Any]:
        row = storage.row("SELECT data FROM orders WHERE number = ?", number)
        if row is None:
            raise RefusedError(404, "not_found", f"There is no order {number}")
        return {"number": number, **json.loads(row["data"])}

    @router.post("/v1/leads")
    async def lead(request: Request) -> JSONResponse:
        fields = await form_fields(request)
        return JSONResponse({"id": storage.add("leads", fields), "fields": fields}, 201)

    @router.post("/v1/documents")
    async def document(request: Request) -> JSONResponse:
        files, fields = await _documents(request)
        kept = [{"id": storage.add("documents", {**file, "fields": fields}), **file} for file in files]
        return JSONResponse({**kept[0], "fields": fields, "files": kept}, 201)

    @router.post("/v1/notes")
    async def note(request: Request) -> JSONResponse:
        value = await yaml_value(request)
        return JSONResponse({"id": storage.add("notes", value), "note": value}, 201)

    @router.post("/soap")
    async def soap(request: Request) -> Response:
        root = await xml_root(request)
        operation, fields = _ticket(root)
        ticket_id = storage.add("tickets", {"operation": operation, "fields": fields})
        values = {"ticketId": str(ticket_id), "status": "open"}
        content = _envelope(str(etree.QName(root).namespace), f"{operation}Response", values)
        return Response(content, 200, media_type="text/xml; charset=utf-8")

    return router


def threads_router(storage: Storage) -> APIRouter:
    """`/v1/threads`: a chain of calls, each of which needs the id the one before answered with."""
    router = APIRouter(prefix="/v1/threads")

    def existing(thread_id: int) -> int:
        if storage.get("threads", thread_id) is None:
            raise RefusedError(404, "not_found", f"There is no thread {thread_id}")
        return thread_id

    def messages(thread_id: int) -> list[dict[str, Any]]:
        rows = storage.rows(
            "SELECT id, data FROM messages WHERE json_extract(data, '$.thread') = ? ORDER BY id DESC", thread_id
        )
        return [{"id": row["id"], **json.loads(row["data"])} for row in rows]

    @router.post("")
    async def create(request: Request) -> JSONResponse:
        given = await json_object(request) if await request.body() else {}
        return JSONResponse({"id": storage.add("threads", given)}, 201)

    @router.post("/{thread_id}/messages")
    async def say(thread_id: Id, request: Request) -> JSONResponse:
        existing(thread_id)
        given = await json_object(request)
        text = given.get("text", given.get("content"))
        if not isinstance(text, str) or not text:
            raise RefusedError(422, "text_missing", "A message needs a text")
        said = {"thread": thread_id, "role": str(given.get("role", "user")), "text": text}
        return JSONResponse({"id": storage.add("messages", said)}, 201)

    @router.post("/{thread_id}/runs")
    async def run(thread_id: Id) -> JSONResponse:
        questions = [message["text"] for message in messages(existing(thread_id)) if message["role"] == "user"]
        if not questions:
            raise RefusedError(422, "nothing_to_answer", "The thread has no message from a user")
        run_id = storage.add("runs", {"thread": thread_id, "status": "completed"})
        answer = {"thread": thread_id, "role": "assistant", "text": f"You said: {questions[0]}", "run": run_id}
        storage.add("messages", answer)
        return JSONResponse({"id": run_id, "status": "completed"}, 201)

    @router.get("/{thread_id}/messages")
    async def listing(thread_id: Id) -> dict[str, Any]:
        return {"data": messages(existing(thread_id))}

    return router
