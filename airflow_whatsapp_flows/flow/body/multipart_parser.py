"""Parses the parts of a multipart body in a flow."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.faults import where_of
from airflow_whatsapp_flows.flow.body.fields import parse_field, parse_fields
from airflow_whatsapp_flows.flow.body.file_part import FilePart, validate_media_type
from airflow_whatsapp_flows.flow.body.leaves import plain_value, tree_at, tree_of, validate_name
from airflow_whatsapp_flows.flow.body.multipart import MultipartBody, TextPart
from airflow_whatsapp_flows.flow.body.scalars import kind_of, utf8
from airflow_whatsapp_flows.flow.template.language import Data, TemplateFault, TemplateLanguage, Tree, TreeFault

_TEXT_KEYS = {"name", "value", "content_type"}
_FILE_KEYS = {"name", "file", "filename", "content_type"}


def parse_multipart(body: object, language: TemplateLanguage) -> MultipartBody:
    """Parse a multipart body: an object of text fields, or a list of parts.

    Raises:
        TemplateFault: it is neither.
        TreeFault: a part cannot be sent; has the path.
    """
    if isinstance(body, Mapping):
        return MultipartBody(tuple(TextPart(field) for field in parse_fields(tree_of(body, language))))
    if isinstance(body, (list, tuple)):
        return MultipartBody(tuple(_parse_part(index, part, language) for index, part in enumerate(body)))
    raise TemplateFault(
        "a multipart body must be an object {name: value} or a list of parts {name, value} and {name, file}, not "
        f"{kind_of(body)}"
    )


def _parse_part(index: int, part: object, language: TemplateLanguage) -> TextPart | FilePart:
    path = (index,)
    if isinstance(part, Data):
        part = part.value
    if not isinstance(part, Mapping):
        raise TreeFault(f"a part must be an object {{name, value}} or {{name, file}}, not {kind_of(part)}", path=path)
    if ("file" in part) == ("value" in part):
        raise TreeFault("a part must have either 'value', for text, or 'file', for a file", path=path)
    allowed = _FILE_KEYS if "file" in part else _TEXT_KEYS
    if unknown := [key for key in part if key not in allowed]:
        raise TreeFault(
            f"a part with these keys cannot have {unknown[0]!r}; allowed: {', '.join(sorted(allowed))}", path=path
        )
    if "name" not in part:
        raise TreeFault("a part must have a 'name'", path=path)
    content_type = _leaf(index, "content_type", part, language)
    if "value" in part:
        value = tree_at((index, "value"), part["value"], language)
        return TextPart(parse_field(part["name"], value, path, language), content_type)
    name = validate_name(part["name"], path, language)
    file, filename = _leaf(index, "file", part, language), _leaf(index, "filename", part, language)
    try:
        utf8(name)
    except RenderError as error:
        raise TreeFault(f"the name {name!r}: {error}", path=path) from None
    return FilePart(where_of(path), name, file, filename, content_type)


def _leaf(index: int, key: str, part: Mapping[str, object], language: TemplateLanguage) -> Tree:
    """Parse one text of a part; its constant parts are checked."""
    path = (index, key)
    tree = tree_at(path, part.get(key), language)
    value = plain_value(tree)
    if key == "file" and isinstance(tree, Data) and isinstance(value, dict):
        return tree
    if isinstance(value, (dict, list, bool, int, float)):
        raise TreeFault(f"{key!r} must be text, not {kind_of(value)}", path=path)
    if key == "file" and not value and (value is None or isinstance(value, str)):
        raise TreeFault("'file' must be a path, a URL, or a placeholder; it is empty", path=path)
    if isinstance(value, str):
        try:
            utf8(value)
            if key == "content_type":
                validate_media_type(value)
        except RenderError as error:
            raise TreeFault(str(error), path=path) from None
    return value
