"""Reading what a request carries, strictly: a stand-in that accepts anything would prove nothing."""

import json
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import parse_qsl

import yaml
from fastapi import Path, Request
from lxml import etree

# The ids SQLite can hold.
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
JSON_TYPES = ("application/json",)
FORM_TYPES = ("application/x-www-form-urlencoded",)
XML_TYPES = ("text/xml", "application/xml", "application/soap+xml")
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")


class RefusedError(Exception):
    """A request the CRM does not accept.

    Args:
        status: HTTP status of the reply.
        code: A word for programs.
        message: A sentence for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def media_type(request: Request) -> str:
    """The Content-Type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def expect(request: Request, accepted: tuple[str, ...]) -> None:
    """Refuse a request whose Content-Type is not one of those.

    Raises:
        RefusedError: 415.
    """
    given = media_type(request)
    if given not in accepted:
        raise RefusedError(415, "wrong_content_type", f"Content-Type must be {accepted[0]}; it is {given or 'missing'}")


async def text_of(request: Request) -> str:
    """The body as UTF-8 text.

    Raises:
        RefusedError: 400 for bytes that are not UTF-8.
    """
    try:
        return (await request.body()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(400, "not_utf8", f"The body is not UTF-8: {error.reason} at byte {error.start}") from None


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        RefusedError: 415 for another Content-Type, 400 for text that is not JSON, 422 for JSON that is no object.
    """
    expect(request, JSON_TYPES)
    text = await text_of(request)
    try:
        value = json.loads(text, parse_constant=_no_constant)
        # A lone surrogate can be spelled in JSON but cannot be stored or sent as UTF-8.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "malformed_json", f"The body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RefusedError(422, "not_an_object", "The body must be a JSON object")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


async def form_fields(request: Request) -> dict[str, Any]:
    """The fields of a URL-encoded form; a field given more than once is a list.

    Raises:
        RefusedError: 415 for another Content-Type, 400 for a malformed form, 422 for an empty one.
    """
    expect(request, FORM_TYPES)
    text = await text_of(request)
    if not text:
        raise RefusedError(422, "empty_form", "The form has no fields")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError as error:
        raise RefusedError(400, "malformed_form", f"The body is not a URL-encoded form: {error}") from None
    return merged(pairs)


def merged(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Pairs as a dict in which a repeated name holds a list."""
    fields: dict[str, list[Any]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


async def xml_root(request: Request) -> etree._Element:
    """The root element of an XML body, parsed without entities, DTDs or network.

    Raises:
        RefusedError: 415 for another Content-Type, 400 for malformed XML or a document type declaration.
    """
    expect(request, XML_TYPES)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(await request.body(), parser)
    except etree.XMLSyntaxError as error:
        raise RefusedError(400, "malformed_xml", f"The body is not XML: {error.msg}") from None
    # SOAP 1.2 part 1 §5: a message has no document type declaration; it is also what entity attacks need.
    if root.getroottree().docinfo.doctype:
        raise RefusedError(400, "doctype", "A document type declaration is not accepted")
    return root


async def yaml_value(request: Request) -> Any:
    """The value of a YAML body, as JSON can say it.

    Raises:
        RefusedError: 415 for another Content-Type, 400 for malformed YAML or aliases, 422 for an empty document.
    """
    expect(request, YAML_TYPES)
    text = await text_of(request)
    try:
        # A few nested aliases unfold into gigabytes when written as JSON.
        if any(isinstance(event, yaml.AliasEvent) for event in _events(text)):
            raise RefusedError(400, "yaml_alias", "YAML aliases are not accepted")
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RefusedError(400, "malformed_yaml", f"The body is not YAML: {error}") from None
    if value is None:
        raise RefusedError(422, "empty_document", "The YAML document is empty")
    return plain(value)


def _events(text: str) -> Iterator[yaml.Event]:
    yield from yaml.parse(text, Loader=yaml.SafeLoader)


def plain(value: Any) -> Any:
    """A YAML value with everything JSON has no word for (dates, .nan, bytes, odd keys) as text."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
