"""The pydantic models of a flow file mean the same as the classes that msgspec reads it with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from airflow_whatsapp_flows.flow.format import STEP_FORMATS, FlowFormat
from airflow_whatsapp_flows.flow.format.pydantic_models import pydantic_model, struct_of
from airflow_whatsapp_flows.flow.loading.load import _read_format
from tests.flow.format.test_json_schema import EVERYTHING, FILES, mutate, places
from tests.roads.roads import all_cases

TEXTS = {
    "everything": json.dumps(EVERYTHING),
    **{path.stem: path.read_text(encoding="utf-8") for path in FILES},
    **{case.name: case.source for case in all_cases()},
}
# What one of the two could take for something else: whole and large numbers, line feeds at the end, long characters.
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, 1.0, -1, 0.5, 7, 300, 501, 10**19, 10**25, 1e300, "", "1", "a", "x" * 101, "😀" * 255,
    "😀" * 256, "MX", "MX\n", "09:00", "09:00\n", "25:00", "20%", "20%\n", "everything\n", "POST", "question", "json",
    [], [1], [1.0], ["a"], [["a", 1]], [["a"]], [["a", 1, 2]], {}, {"a": 1}, {"a": None}, {"a": "b"}, {"amount": 1},
)  # fmt: skip


def _read_with_pydantic(text: str) -> FlowFormat | None:
    try:
        read: FlowFormat = struct_of(pydantic_model(FlowFormat).model_validate_json(text))
    except ValidationError:
        return None
    return read


@pytest.mark.parametrize("name", TEXTS)
def test_both_read_the_same_from_a_file_without_faults(name: str) -> None:
    read = _read_format(TEXTS[name])

    assert read is not None
    assert read == _read_with_pydantic(TEXTS[name])


@pytest.mark.parametrize("change", ["replace", "remove", "rename"])
def test_both_accept_the_same_files_and_read_the_same_from_them(change: str) -> None:
    accepted = 0
    for place in places(EVERYTHING):
        for instead in STRANGE if change == "replace" else (None,):
            text = json.dumps(mutate(EVERYTHING, place, change, instead))
            read = _read_format(text)
            assert repr(read) == repr(_read_with_pydantic(text)), (place, instead)
            accepted += read is not None
    assert accepted > 50


def test_every_step_has_its_type_as_the_first_key_of_its_own() -> None:
    for kind, step in STEP_FORMATS.items():
        keys, inherited = list(pydantic_model(step).model_fields), step.__mro__[1]
        assert step.type == kind
        assert keys[len(pydantic_model(inherited).model_fields)] == "type"  # type: ignore[arg-type]
