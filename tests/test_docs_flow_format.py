"""docs/flow-format.md documents every key of a flow file with its default, and its examples pass."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from airflow_whatsapp_flows.flow.format import STEP_FORMATS, acting, asking, common, flow, replay, sending, testing
from airflow_whatsapp_flows.flow.format.common import FormatModel
from airflow_whatsapp_flows.flow.format.pydantic_models import pydantic_model
from airflow_whatsapp_flows.flow.inspect.testing import run_flow_test
from airflow_whatsapp_flows.flow.loading.load import load_flow
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "flow-format.md").read_text(encoding="utf-8")
HEADINGS = {
    "FlowFormat": "## The flow",
    "StepBase": "## Steps",
    "StepWithText": "### Steps with text",
    "AnsweredStep": "### Steps with answers",
    "DurationFormat": "#### `wait`",
    "OptionsFromVariableFormat": "#### `options_from_variable`",
    "AnswerRangeFormat": "#### `answer_range`",
    "PathFormat": "#### A path",
    "ConditionFormat": "#### A condition",
    "RetryFormat": "#### `retry`",
    "TimeWindowFormat": "#### A time window",
    "VariableFormat": "## Variables",
    "EffectsFormat": "## Effects",
    "ReplayFormat": "## Replay",
    "ScheduleFormat": "### `schedule`",
    "AnyAssetFormat": "### Any of several assets",
    "QuietHoursFormat": "### `quiet_hours`",
    "ApprovalFormat": "### `approve`",
    "ResultsTableFormat": "### `results_to`",
    "AirflowFormat": "## Airflow",
    "FlowTestFormat": "## Tests",
    "ReplyFormat": "### A reply",
    "ExpectationFormat": "### Expectations",
    "ExpectedRequestFormat": "### An expected request",
    **{step.__name__: f"### `{kind}`" for kind, step in STEP_FORMATS.items()},
}
CLASSES = {
    name: pydantic_model(found)
    for module in (acting, asking, common, flow, replay, sending, testing)
    for name, found in vars(module).items()
    if isinstance(found, type) and issubclass(found, FormatModel) and found is not FormatModel
}
BLOCKS = re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    """The text between a heading and the next one."""
    assert TEXT.count(f"\n{heading}\n") == 1, heading
    below = TEXT.partition(f"\n{heading}\n")[2]
    return re.split(r"^#+ ", below, maxsplit=1, flags=re.MULTILINE)[0]


def own_fields(described: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a class without those of its base classes; the type of a step is among the common keys."""
    inherited = {
        key for parent in described.__mro__[1:] if issubclass(parent, BaseModel) for key in parent.model_fields
    }
    fields = {field.alias or key: field for key, field in described.model_fields.items() if key not in inherited}
    if described.__name__ in {step.__name__ for step in STEP_FORMATS.values()}:
        del fields["type"]
    return fields


def written_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default: Any = field.get_default(call_default_factory=True)
    if default is None or default in ({}, []) or isinstance(default, BaseModel):
        return "–"
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return f"`{json.dumps(default) if isinstance(default, bool) else default}`"


def rows(heading: str) -> dict[str, list[str]]:
    """Cells of each row of the section's table of keys, by key."""
    found = re.findall(r"^\| `([$\w]+)` \| (.*) \|$", section(heading), re.MULTILINE)
    return {key: [cell.strip() for cell in cells.split(" | ")] for key, cells in found}


def test_every_object_of_a_flow_file_has_its_section() -> None:
    assert HEADINGS.keys() == CLASSES.keys()


@pytest.mark.parametrize("name", HEADINGS)
def test_every_key_is_in_its_table_with_its_default_and_a_meaning(name: str) -> None:
    documented = rows(HEADINGS[name])
    if name == "StepBase":
        del documented["type"]
    fields = own_fields(CLASSES[name])

    assert list(documented) == list(fields)
    assert {key: cells[0] for key, cells in documented.items()} == {
        key: written_default(field) for key, field in fields.items()
    }
    assert all(len(cells[1]) > 3 for cells in documented.values())


@pytest.mark.parametrize("name", [name for name in HEADINGS if "platform's field" in section(HEADINGS[name])])
def test_every_platform_key_names_its_field(name: str) -> None:
    assert [key for key, cells in rows(HEADINGS[name]).items() if len(cells) != 3 or not cells[2]] == []


@pytest.mark.parametrize("text", [pytest.param(text, id=json.loads(text)["id"]) for text in BLOCKS])
def test_examples_pass_their_tests(text: str) -> None:
    flow = load_flow(text)

    assert [run.mismatches for test in flow.tests if (run := run_flow_test(flow, test)).mismatches] == []


def test_every_type_of_step_has_an_example() -> None:
    shown = {step["type"] for text in BLOCKS for step in json.loads(text)["steps"]}

    assert shown == set(STEP_FORMATS)


def test_links_have_a_heading() -> None:
    flows = (REPOSITORY / "docs" / "flows.md").read_text(encoding="utf-8")
    for here, other, text in ((TEXT, flows, "flows.md"), (flows, TEXT, "flow-format.md")):
        for anchor in re.findall(r"\]\(#([^)]+)\)", here):
            assert anchor in anchors(here), anchor
        for anchor in re.findall(rf"\]\({re.escape(text)}#([^)]+)\)", here):
            assert anchor in anchors(other), anchor


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
