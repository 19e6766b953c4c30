"""The JSON Schema of flow format 1, for editors and for programs that write flow files.

It covers keys, types, ranges, and choices. Only :func:`~airflow_whatsapp_flows.flow.loading.load.load_flow` checks what
depends on the entire flow, such as a target that is not a step.

The package ships it as a file; ``python -m airflow_whatsapp_flows.flow.format.json_schema`` prints it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, NoDefault
from pydantic_core import core_schema

from airflow_whatsapp_flows.flow.format import STEP_FORMATS, FlowFormat
from airflow_whatsapp_flows.flow.format.pydantic_models import pydantic_model

SCHEMA_ID = "urn:airflow-whatsapp-flows:flow-format-1"
"""Identifies the schema; there is no document at this URL."""

_CLASS = "Format"
_STEP = "Step"
_ANYTHING = "JsonValue"
_OF_MAPPINGS = ("properties", "$defs")
_OF_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_OF_ONE = ("items", "additionalProperties", "propertyNames")


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, without the parts that are noise in editors."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # a key is its own title

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        if schema.get("default_factory") in (dict, list):
            return schema["default_factory"]()  # type: ignore[call-arg]
        default = super().get_default_value(schema)
        # null is the default of absent keys; an editor would insert it.
        return NoDefault if default is None else default


def flow_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12), made of the classes of :mod:`~airflow_whatsapp_flows.flow.format`.

    Steps are distinguished by ``type`` with ``if`` and ``then``, so an editor reports the key that is wrong; with
    ``oneOf`` it would only report that nothing matches.
    """
    made = pydantic_model(FlowFormat).model_json_schema(by_alias=True, schema_generator=_Generator)
    made["properties"]["steps"]["items"] = {"$ref": f"#/$defs/{_STEP}"}
    definitions: dict[str, JsonSchemaValue] = made.pop("$defs")
    inlined = {name: found for name, found in definitions.items() if "enum" in found or name == _ANYTHING}
    schema = {"$schema": GenerateJsonSchema.schema_dialect, "$id": SCHEMA_ID, **_tidy(made, inlined)}
    schema["title"] = "WhatsApp flow"
    schema["$defs"] = {_STEP: _any_step()}
    for name, definition in sorted(definitions.items()):
        if name not in inlined:
            schema["$defs"][name.removesuffix(_CLASS)] = _tidy(definition, inlined)
    for kind, step in STEP_FORMATS.items():
        keys = schema["$defs"][step.__name__.removesuffix(_CLASS)]
        keys["title"] = kind
        keys["properties"]["type"]["description"] = keys["description"]
    return schema


def schema_text() -> str:
    """The text of the schema file in the package."""
    return json.dumps(flow_schema(), ensure_ascii=False, indent=2) + "\n"


def _any_step() -> dict[str, Any]:
    """A step of any type. Without a type, an editor offers ``name`` and ``type`` and explains each type."""
    kinds = {kind: step.__name__.removesuffix(_CLASS) for kind, step in STEP_FORMATS.items()}
    explained = [{"const": kind, "description": _text(step.__doc__)} for kind, step in STEP_FORMATS.items()]
    return {
        "title": "step",
        "description": "one step of the flow; its type determines its other keys",
        "type": "object",
        "required": ["name", "type"],
        "properties": {
            "name": {"type": "string", "description": "the name other steps use for it; unique in the flow"},
            "type": {"description": "what the step does", "oneOf": explained},
        },
        "allOf": [
            {
                "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{definition}"},
            }
            for kind, definition in kinds.items()
        ],
    }


def _tidy(schema: Mapping[str, Any], inlined: Mapping[str, JsonSchemaValue]) -> dict[str, Any]:
    """Remove pydantic's own metadata: class names, and a definition for every enumeration."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name in inlined:
        definition = {} if name == _ANYTHING else dict(inlined[name])
        schema = {**definition, **{key: value for key, value in schema.items() if key != "$ref"}}
    tidied: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title":
            continue
        if key == "$ref":
            value = value.removesuffix(_CLASS)
        elif key == "description":
            value = _text(value)
        elif key in _OF_MAPPINGS:
            value = {inner: _tidy(found, inlined) for inner, found in value.items()}
        elif key in _OF_LISTS:
            value = [_tidy(found, inlined) for found in value]
        elif key in _OF_ONE and isinstance(value, Mapping):
            value = _tidy(value, inlined)
        tidied[key] = value
    return _merge(tidied)


def _merge(schema: dict[str, Any]) -> dict[str, Any]:
    """Merge alternatives of simple types to a list of types: their other keywords apply only to their own type."""
    branches = schema.get("anyOf", [])
    types = [branch.get("type") for branch in branches]
    if not branches or not all(isinstance(kind, str) for kind in types):
        return schema
    together: dict[str, Any] = {}
    for branch in branches:
        together.update({key: value for key, value in branch.items() if key not in ("type", "description")})
    if "enum" in together:
        if types != ["string", "null"]:
            return schema
        together["enum"] = [*together["enum"], None]
    kinds = [kind for kind in dict.fromkeys(types) if kind != "integer" or "number" not in types]
    merged = {"type": kinds, **together}
    return {**merged, **{key: value for key, value in schema.items() if key != "anyOf"}}


def _text(docstring: str | None) -> str:
    return " ".join((docstring or "").replace("``", "`").split())


if __name__ == "__main__":
    print(schema_text(), end="")
