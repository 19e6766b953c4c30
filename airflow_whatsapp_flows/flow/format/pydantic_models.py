"""The classes of the format as pydantic models, which report every fault of a file, and make its JSON Schema.

A file without faults is read by msgspec, which is many times as fast but reports one fault only. The models are made of
the same classes when they are first needed: importing pydantic and creating them takes longer than everything else that
is done with a file.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    TypeAdapter,
    create_model,
)
from pydantic_core import PydanticCustomError

from airflow_whatsapp_flows.flow.format.common import AnyJson, ByJsonType, FormatModel
from airflow_whatsapp_flows.flow.format.flow import STEP_FORMATS, StepFormat

_LIMITS = ("min_length", "max_length", "ge", "gt", "le")
_END_OF_TEXT = r"\Z"  # in Python; "$" would allow a newline after it


class _Base(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_STRUCTS: dict[type[BaseModel], type[FormatModel]] = {}


@cache
def pydantic_model(struct: type[FormatModel]) -> type[BaseModel]:
    """The model with the keys of a class of the format, in the same order."""
    parent = struct.__mro__[1]
    base = _Base if parent is FormatModel else pydantic_model(parent)
    hints = get_type_hints(struct, include_extras=True)
    own = inspect.get_annotations(struct)
    fields: dict[str, Any] = {}
    if struct in STEP_FORMATS.values():
        fields["type"] = (Literal[struct.__struct_config__.tag], ...)
    for field in msgspec.structs.fields(struct):
        if field.name in own:
            fields[field.name] = _pydantic_field(field, hints[field.name])
    made = create_model(struct.__name__, __base__=base, __doc__=struct.__doc__, __module__=struct.__module__, **fields)
    _STRUCTS[made] = struct
    return made


@cache
def step_validator() -> TypeAdapter[BaseModel]:
    """Validates one step of any type."""
    return TypeAdapter(_pydantic_type(StepFormat))


def struct_of(value: Any) -> Any:
    """The object of the format for a validated model, with everything in it."""
    if isinstance(value, _Base):
        struct = _STRUCTS[type(value)]
        names = value.model_fields_set.intersection(struct.__struct_fields__)  # the type of a step is its class
        return struct(**{name: struct_of(getattr(value, name)) for name in names})
    if isinstance(value, dict):
        return {key: struct_of(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(struct_of(item) for item in value)
    return value


def _pydantic_field(field: msgspec.structs.FieldInfo, hint: Any) -> tuple[Any, Any]:
    """The type of a field, and its default with its description and limits."""
    settings: dict[str, Any] = {}
    if field.encode_name != field.name:
        settings["alias"] = field.encode_name
    if field.default_factory is not msgspec.NODEFAULT:
        factory = field.default_factory
        is_object = isinstance(factory, type) and issubclass(factory, FormatModel)
        settings["default_factory"] = pydantic_model(factory) if is_object else factory
    elif field.default is not msgspec.NODEFAULT:
        settings["default"] = None if field.default is msgspec.UNSET else field.default
    inner, *metas = get_args(hint)
    settings["description"] = next(meta.description for meta in metas if getattr(meta, "description", None))
    return _pydantic_annotated(inner, *metas), Field(**settings)


def _pydantic_type(hint: Any) -> Any:
    """The type for pydantic that means the same as one for msgspec."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _pydantic_annotated(*inner)
    if origin in (Union, UnionType):
        steps = [one for one in inner if isinstance(one, type) and one in STEP_FORMATS.values()]
        kept = tuple(_pydantic_type(one) for one in inner if one is not msgspec.UnsetType)
        return Annotated[Union[kept], Field(discriminator="type")] if steps else Union[kept]  # noqa: UP007
    if origin in (list, dict, tuple):
        return origin[tuple(_pydantic_type(one) for one in inner)]
    if origin is Literal and inner == (1,):
        return Annotated[hint, BeforeValidator(_check_whole_number)]
    if isinstance(hint, type) and issubclass(hint, FormatModel):
        return pydantic_model(hint)
    return hint


def _pydantic_annotated(hint: Any, *metas: Any) -> Any:
    limits: dict[str, Any] = {}
    for meta in metas:
        if isinstance(meta, AnyJson):
            return JsonValue
        if isinstance(meta, ByJsonType):
            pairs = zip(get_args(hint), meta.types, strict=True)
            alternatives = tuple(Annotated[_pydantic_type(one), Tag(name)] for one, name in pairs)
            return Annotated[Union[alternatives], Discriminator(_discriminate(meta))]  # noqa: UP007
        if isinstance(meta, msgspec.Meta):
            limits |= {name: value for name in _LIMITS if (value := getattr(meta, name)) is not None}
            if meta.pattern is not None:
                limits["pattern"] = meta.pattern.replace(_END_OF_TEXT, "$")  # in the syntax of JSON Schema
    found = _pydantic_type(hint)
    return Annotated[found, Field(**limits)] if limits else found


def _discriminate(by_type: ByJsonType) -> Any:
    kinds = {
        Mapping: "object",
        BaseModel: "object",  # when a model is written out again
        list: "array",
        str: "text",
        bool: "boolean",
        int: "number",
        float: "number",
    }

    def find(value: object) -> str:
        kind = next((kind for type_, kind in kinds.items() if isinstance(value, type_)), "")
        return kind if kind in by_type.types else by_type.types[-1]

    return find


def _check_whole_number(written: object) -> object:
    # Pydantic accepts anything equal to 1 as Literal[1], including true and 1.0.
    if type(written) is not int:
        raise PydanticCustomError("literal_error", "must be 1", {"expected": "1"})
    return written
