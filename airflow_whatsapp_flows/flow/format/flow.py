"""Flow format 1: the keys of a flow file, their types and defaults.

This is the file's syntax. Its meaning is in :mod:`~airflow_whatsapp_flows.flow.model`, and
:mod:`~airflow_whatsapp_flows.flow.loading.load` converts one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

from airflow_whatsapp_flows.flow.format.acting import (
    AssignationFormat,
    ConditionalFormat,
    ContactUpdateFormat,
    DelayFormat,
    EndFormat,
    GoToFormat,
    MessageFormat,
    TagFormat,
    TriggerFlowFormat,
)
from airflow_whatsapp_flows.flow.format.asking import MenuFormat, QuestionFormat, TemplateFormat
from airflow_whatsapp_flows.flow.format.common import FormatModel, StepName
from airflow_whatsapp_flows.flow.format.replay import ReplayFormat
from airflow_whatsapp_flows.flow.format.sending import ActionFormat
from airflow_whatsapp_flows.flow.format.testing import FlowTestFormat


def _one(written: object) -> object:
    # Pydantic accepts anything equal to 1 as Literal[1], including true and 1.0.
    if type(written) is not int:
        raise PydanticCustomError("literal_error", "must be 1", {"expected": "1"})
    return written


MAX_STEPS = 500
FLOW_ID = r"[a-z0-9][a-z0-9_-]{0,99}"
"""Pattern of a flow's ID, which is also the name of its file and of its DAG."""
ShortText = Annotated[str, Field(min_length=1, max_length=255)]

AnyStepFormat = (
    QuestionFormat
    | MenuFormat
    | MessageFormat
    | TemplateFormat
    | ConditionalFormat
    | ActionFormat
    | DelayFormat
    | ContactUpdateFormat
    | TagFormat
    | AssignationFormat
    | GoToFormat
    | TriggerFlowFormat
    | EndFormat
)
StepFormat = Annotated[AnyStepFormat, Field(discriminator="type")]
STEP_FORMATS: Mapping[str, type[AnyStepFormat]] = {
    get_args(step.model_fields["type"].annotation)[0]: step for step in get_args(AnyStepFormat)
}
"""The steps by ``type``, in the order in which messages list them."""


class VariableFormat(FormatModel):
    """One of the flow's ``flow_execution_variables``."""

    type: Literal["text", "number", "bool", "list", "object"] = Field("text", description="the type of its values")
    default: JsonValue = Field(None, description="its default value")
    required: bool = Field(False, description="whether to reject contacts without it")
    description: str | None = Field(None, description="shown in Airflow's form")


class EffectsFormat(FormatModel):
    """Effects on WhatsApp and on the platform in addition to the flow's own requests; none by default."""

    connection: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="the id of an Airflow connection to the platform"
    )
    messages: bool = Field(False, description="whether to send messages to the contact")
    contact_updates: bool = Field(False, description="whether to update contacts")
    tags: bool = Field(False, description="whether to write tags")
    flows: bool = Field(False, description="whether to start other flows")


class AirflowFormat(FormatModel):
    """Settings of the flow's DAGs in Airflow. The schedule applies to the replay."""

    start_date: str | None = Field(
        None,
        min_length=10,
        max_length=40,
        description="the start of the replay's schedule: a date, or a date and time, in the flow's time zone",
    )
    catchup: bool = Field(False, description="whether the replay's schedule also runs for the time since start_date")
    tags: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(
        default_factory=list, max_length=50, description="tags in addition to 'whatsapp'"
    )
    owner: ShortText | None = Field(None, description="the owner of its tasks")
    pool: ShortText | None = Field(None, description="the Airflow pool of its requests")
    doc_md: str | None = Field(None, max_length=65_536, description="documentation of the DAG; Markdown")
    max_active_runs: int | None = Field(None, ge=1, le=10_000, description="maximum active runs")
    retries: int = Field(3, ge=0, le=100, description="retries of tasks that send nothing")
    retry_delay: float = Field(
        5.0,
        ge=0,
        le=86_400,
        description="seconds before the first retry of a task that sends nothing; doubled each time",
    )
    inlets: list[ShortText] = Field(default_factory=list, max_length=50, description="URIs of the assets that it reads")
    outlets: list[ShortText] = Field(
        default_factory=list, max_length=50, description="URIs of the assets that it writes"
    )


class FlowFormat(FormatModel):
    """A flow file."""

    schema_: str | None = Field(None, alias="$schema", description="the URL of the schema for editors; ignored")
    flow_format: Annotated[Literal[1], BeforeValidator(_one)] = Field(description="the version of the format")
    id: str = Field(pattern=rf"^{FLOW_ID}$", description="also the id of the DAG and the name of the file")
    name: str | None = Field(None, max_length=200, description="the display name; default: the id")
    version: str | int | None = Field(None, description="the version of the flow; informational")
    syntax: Literal["hilos", "activecampaign"] = Field(
        "hilos", description="the placeholder syntax: {{ contact.phone }}, or also %contact.phone%"
    )
    start: StepName | None = Field(None, description="the first step; default: the first one listed")
    timezone: str = Field("UTC", description="IANA name; the time zone of global.Date and similar variables")
    default_country: str | None = Field(
        None, min_length=2, max_length=2, description="the country of phone numbers without a country code (ISO 3166)"
    )
    identifiers: list[ShortText] = Field(
        default_factory=list,
        max_length=20,
        description="variables that identify a contact, in addition to contact.id, phone, user_id, and email",
    )
    missing: Literal["error", "null", "empty"] = Field("error", description="the result of a reference without a value")
    max_visits: int = Field(100, ge=1, le=10_000, description="maximum visits of one step by one contact")
    sensitive: list[ShortText] = Field(
        default_factory=list,
        max_length=200,
        description="variables whose values are hidden in everything that is recorded or displayed",
    )
    not_secret: list[ShortText] = Field(
        default_factory=list,
        max_length=200,
        description="names of headers, parameters, and fields whose literal values look like secrets but are not",
    )
    imported: dict[str, JsonValue] | None = Field(None, description="where the flow came from; informational")
    variables: dict[str, VariableFormat] = Field(
        default_factory=dict, description="its flow_execution_variables; if any are declared, steps can read no others"
    )
    effects: EffectsFormat = Field(
        default_factory=EffectsFormat,
        description="which steps take effect on WhatsApp and on the platform; default: none",
    )
    replay: ReplayFormat | None = Field(None, description="how recorded responses are replayed in batches")
    airflow: AirflowFormat = Field(default_factory=AirflowFormat, description="settings of its DAGs")
    tests: list[FlowTestFormat] = Field(default_factory=list, max_length=1000, description="the tests of the flow")
    steps: list[StepFormat] = Field(
        min_length=1, max_length=MAX_STEPS, description="the flow starts at the first one unless start is set"
    )
