"""Named fields of forms and multipart bodies: null is empty, a list repeats the name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.faults import Path, where_of
from airflow_whatsapp_flows.flow.body.leaves import literals, plain_value, validate_name
from airflow_whatsapp_flows.flow.body.scalars import kind_of, scalar_text, utf8
from airflow_whatsapp_flows.flow.template.language import TemplateLanguage, Tree, TreeFault, fill

_Encoded = TypeVar("_Encoded")


@dataclass(frozen=True, slots=True)
class Field:
    """A name and its value or values.

    Attributes:
        where: the place in the body.
        name: never a template.
        value: a leaf, or a list of leaves.
    """

    where: str
    name: str
    value: Tree

    def encode(self, values: Mapping[str, object], encode: Callable[[str], _Encoded]) -> Iterator[_Encoded]:
        """The texts to send for one contact, converted by ``encode``: one, or one for each item of a list.

        Raises:
            RenderError: a value is missing, is an object or a list within a list, or cannot be encoded.
        """
        try:
            if isinstance(self.value, list):
                for index, item in enumerate(self.value):
                    yield _at_item(index, lambda item=item: encode(_text(fill(item, values))))  # type: ignore[misc]
                return
            value = fill(self.value, values)
            if isinstance(value, (list, tuple)):
                for index, found in enumerate(value):
                    yield _at_item(index, lambda found=found: encode(_text(found)))  # type: ignore[misc]
                return
            yield encode(_text(value))
        except RenderError as error:
            raise error.at(self.where) if self.where else error from None


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        raise RenderError("an object cannot be a field; send its parts as separate fields, or use a JSON body")
    return scalar_text(value)


def _at_item(index: int, encoded: Callable[[], _Encoded]) -> _Encoded:
    try:
        return encoded()
    except RenderError as error:
        raise error.at(f"[{index}]") from None


def parse_field(name: object, value: Tree, path: Path, language: TemplateLanguage | None = None) -> Field:
    """Check one field of a flow.

    Args:
        name: must be text without a placeholder.
        value: a leaf, or a list of leaves.
        path: the place in the body.
        language: the language of the body; with none, placeholders stand in braces.

    Raises:
        TreeFault: the name or the value cannot be sent.
    """
    name = validate_name(name, path, language)
    value = plain_value(value)
    items = value if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(plain_value(item), (Mapping, list, tuple)) for item in items):
        raise TreeFault(
            f"the field {name!r} contains an object or a list within a list; a field must be text, a number, true, "
            "false, null, or a list of these",
            path=path,
        )
    try:
        utf8(name)
        for _, literal in literals(value):
            utf8(scalar_text(literal))
    except RenderError as error:
        raise TreeFault(f"the field {name!r}: {error}", path=path) from None
    return Field(where_of(path), name, value)


def parse_fields(tree: Tree) -> tuple[Field, ...]:
    """Fields of an object, ``{name: value}``.

    Raises:
        TreeFault: it is not an object, or a field cannot be sent.
    """
    tree = plain_value(tree)
    if not isinstance(tree, Mapping):
        raise TreeFault(f"fields must be an object, not {kind_of(tree)}")
    return tuple(parse_field(name, value, (name,)) for name, value in tree.items())
