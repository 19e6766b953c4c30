"""Builds a request, complete to the byte, from an action and one contact's values.

``build_request`` is pure and deterministic: tasks, replays, and the command line all send its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body import (
    ABSENT,
    Body,
    BodyType,
    FileContent,
    FileSource,
    infer_body_type,
    parse_body,
)
from airflow_whatsapp_flows.flow.request.headers import HeaderPlan, parse_headers
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.request.url import UrlPlan, parse_parameters, parse_url
from airflow_whatsapp_flows.flow.template.language import (
    Data,
    Template,
    TemplateFault,
    TemplateLanguage,
    TreeFault,
    faults_under,
    leaves,
    tree_faults,
)

_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class RequestText:
    """A request as its author wrote it.

    Attributes:
        url: absolute, or a path if ``connection`` defines the origin; a template.
        method: upper case.
        headers: name to value; templates.
        query_params: object or pairs; templates.
        body: plain data or text; templates. :data:`ABSENT` when there is none.
        body_type: ``None`` to infer it from Content-Type, else from the body's shape.
        connection: id of an Airflow connection.
    """

    url: str
    method: str = "POST"
    headers: Mapping[str, object] | None = None
    query_params: object = None
    body: object = ABSENT
    body_type: BodyType | None = None
    connection: str | None = None


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """A request, parsed once and built for many contacts.

    Attributes:
        method: upper case.
        url: its parsed URL.
        headers: its parsed header fields.
        body: its parsed body.
        body_type: given, or inferred.
        connection: id of an Airflow connection, if it uses one.
    """

    method: str
    url: UrlPlan
    headers: HeaderPlan
    body: Body
    body_type: BodyType
    connection: str | None

    def file_sources(self, values: Mapping[str, object]) -> tuple[FileSource, ...]:
        """The files in this contact's request, which must be fetched first.

        Raises:
            RenderError: a value is missing, or is no file.
        """
        try:
            return tuple(self.body.file_sources(values))
        except RenderError as error:
            raise error.at("body") from None

    def build(self, values: Mapping[str, object], files: Mapping[str, FileContent] | None = None) -> HttpRequest:
        """The request for one contact.

        Args:
            values: one contact's values, by scope.
            files: contents of :meth:`file_sources`, by their path or URL.

        Raises:
            RenderError: a value is missing, or cannot be sent in its place; has the location.
        """
        try:
            url = self.url.build(values)
        except RenderError as error:
            raise (error if error.where.startswith(("url", "query_params")) else error.at("url")) from None
        headers = self.headers.build(values)
        try:
            encoded = self.body.encode(values, files or {})
        except RenderError as error:
            raise error.at("body") from None
        content_type = encoded.content_type
        if content_type is not None:
            # The author's media type wins; a multipart boundary is ours (RFC 7578 §4.1).
            ours = self.body_type is BodyType.MULTIPART or not any(
                name.lower() == "content-type" for name, _ in headers
            )
            if ours:
                headers = tuple(field for field in headers if field[0].lower() != "content-type")
                headers = (*headers, ("Content-Type", content_type))
        return HttpRequest(self.method, url, headers, encoded.content, self.connection)

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every template in it."""
        parameters = tuple(leaf for _, tree in self.url.query_params for leaf in leaves(tree))
        return (*self.url.templates, *parameters, *self.headers.templates, *self.body.templates)


def parse_request(
    text: RequestText, language: TemplateLanguage, url_language: TemplateLanguage | None = None
) -> tuple[RequestPlan | None, list[TreeFault]]:
    """Parse a request.

    Args:
        text: the request as its author wrote it.
        language: the language of its texts.
        url_language: the language of its URL, if different.

    Returns:
        The plan, or ``None`` and every fault found; the path of a fault starts with the name of its part.
    """
    faults: list[TreeFault] = []
    parse = _Parts(faults)
    of_url = url_language or language
    url = parse.part("url", lambda: parse_url(text.url, of_url, has_connection=text.connection is not None))
    parameters = parse.part("query_params", lambda: parse_parameters(text.query_params, language))
    headers = parse.part("headers", lambda: parse_headers(text.headers, language))
    body = parse.part("body", lambda: _parse_body(text, headers, language))
    if faults:
        # Parsing stops at the first fault of a part; an author wants to see them all.
        faults.extend(_more_faults(text, faults, language))
    if url is None or parameters is None or headers is None or body is None:
        return None, faults
    return RequestPlan(text.method, url.with_parameters(parameters), headers, *body, text.connection), faults


class _Parts:
    """Parses the parts of a request, and collects the faults of each."""

    def __init__(self, faults: list[TreeFault]) -> None:
        self._faults = faults

    def part(self, name: str, parse: Callable[[], _Part]) -> _Part | None:
        try:
            return parse()
        except TemplateFault as fault:
            self._faults.extend(faults_under(fault, name))
            return None


def _more_faults(text: RequestText, found: list[TreeFault], language: TemplateLanguage) -> list[TreeFault]:
    known = {fault.path for fault in found}
    more: list[TreeFault] = []
    for name, value in text.headers.items() if isinstance(text.headers, Mapping) else ():
        _Parts(more).part("headers", partial(parse_headers, {name: value}, language))
    for part, value in (("query_params", text.query_params), ("body", text.body)):
        if isinstance(value, (Mapping, list)):
            found_there = tree_faults(value, language)
            more += [TreeFault(fault.message, fault.offset, (part, *fault.path)) for fault in found_there]
    return [fault for fault in more if fault.path not in known]


def _parse_body(text: RequestText, headers: HeaderPlan | None, language: TemplateLanguage) -> tuple[Body, BodyType]:
    body_type = _body_type(text, headers)
    return parse_body(body_type, text.body, language), body_type


def _body_type(text: RequestText, headers: HeaderPlan | None) -> BodyType:
    absent = text.body is ABSENT
    if text.body_type is None:
        if absent:
            return BodyType.NONE
        shape = text.body.value if isinstance(text.body, Data) else text.body
        return infer_body_type(shape, headers.literal("content-type") if headers else None)
    if absent and text.body_type is not BodyType.NONE:
        raise TreeFault(f"body_type {text.body_type.value!r} needs a body; add one, or use body_type 'none'")
    if not absent and text.body_type is BodyType.NONE:
        raise TreeFault("body_type 'none' sends no body; remove the body, or use another body_type")
    return text.body_type
