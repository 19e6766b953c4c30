"""Flow format 1: the keys of a flow file, their types and defaults.

This is the file as it is written. What it means is in :mod:`~airflow_whatsapp_flows.flow.model`, and
:mod:`~airflow_whatsapp_flows.flow.loading.load` turns the one into the other.
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
    # What equals 1 is a Literal[1] to pydantic: true and 1.0 too.
    if type(written) is not int:
        raise PydanticCustomError("literal_error", "must be 1", {"expected": "1"})
    return written


MAX_STEPS = 500
FLOW_ID = r"[a-z0-9][a-z0-9_-]{0,99}"
"""Pattern of a flow's id; also a name of a file, and of a DAG."""
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
"""The steps by their ``type``, in the order in which they are told to people."""


class VariableFormat(FormatModel):
    """One of the flow's ``flow_execution_variables``."""

    type: Literal["text", "number", "bool", "list", "object"] = Field("text", description="what its values are")
    default: JsonValue = Field(None, description="its value when none is given")
    required: bool = Field(False, description="whether a contact without it is rejected")
    description: str | None = Field(None, description="shown in Airflow's form")


class EffectsFormat(FormatModel):
    """What a walk may do on WhatsApp and on the platform besides the flow's own requests; nothing by default."""

    connection: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="id of an Airflow connection to the platform"
    )
    messages: bool = Field(False, description="whether messages are sent to the contact")
    contact_updates: bool = Field(False, description="whether contacts are changed")
    tags: bool = Field(False, description="whether tags are written")
    flows: bool = Field(False, description="whether other flows are started")


class AirflowFormat(FormatModel):
    """What the flow's DAGs are like in Airflow. What runs on a schedule is the replay."""

    start_date: str | None = Field(
        None,
        min_length=10,
        max_length=40,
        description="when the replay's schedule begins: a date, or a date and time, in the flow's time zone",
    )
    catchup: bool = Field(False, description="whether the replay's schedule is run for the time since start_date too")
    tags: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(
        default_factory=list, max_length=50, description="beside the tag 'whatsapp'"
    )
    owner: ShortText | None = Field(None, description="of its tasks")
    pool: ShortText | None = Field(None, description="that its requests take a slot of")
    doc_md: str | None = Field(None, max_length=65_536, description="shown with the DAG; Markdown")
    max_active_runs: int | None = Field(None, ge=1, le=10_000, description="runs at a time")
    retries: int = Field(3, ge=0, le=100, description="how often a task that sends nothing is tried again")
    retry_delay: float = Field(
        5.0, ge=0, le=86_400, description="seconds before a task that sends nothing is tried again; doubled each time"
    )
    inlets: list[ShortText] = Field(default_factory=list, max_length=50, description="URIs of assets that it reads")
    outlets: list[ShortText] = Field(default_factory=list, max_length=50, description="URIs of assets that it writes")


class FlowFormat(FormatModel):
    """A flow file."""

    schema_: str | None = Field(None, alias="$schema", description="where editors find the schema; not read")
    flow_format: Annotated[Literal[1], BeforeValidator(_one)] = Field(description="version of the format")
    id: str = Field(pattern=rf"^{FLOW_ID}$", description="also the DAG's id and the file's name")
    name: str | None = Field(None, max_length=200, description="for people; the id when absent")
    version: str | int | None = Field(None, description="of the flow; kept, not used")
    syntax: Literal["hilos", "activecampaign"] = Field(
        "hilos", description="how variables are written: {{ contact.phone }}; or also %contact.phone%"
    )
    start: StepName | None = Field(None, description="name of the first step; the first one listed when absent")
    timezone: str = Field("UTC", description="IANA name; what global.Date and its kin are told in")
    default_country: str | None = Field(
        None, min_length=2, max_length=2, description="country of phone numbers without a country code (ISO 3166)"
    )
    identifiers: list[ShortText] = Field(
        default_factory=list,
        max_length=20,
        description="variables that identify a contact, besides contact.id, phone, user_id and email",
    )
    missing: Literal["error", "null", "empty"] = Field("error", description="what a reference without a value is")
    max_visits: int = Field(100, ge=1, le=10_000, description="visits of one step by one contact")
    sensitive: list[ShortText] = Field(
        default_factory=list,
        max_length=200,
        description="variables whose values are hidden in whatever is recorded and shown",
    )
    not_secret: list[ShortText] = Field(
        default_factory=list,
        max_length=200,
        description="names of headers, parameters and fields whose literal values are no secrets, though they look so",
    )
    imported: dict[str, JsonValue] | None = Field(None, description="where the flow came from; kept, not used")
    variables: dict[str, VariableFormat] = Field(
        default_factory=dict, description="its flow_execution_variables; when there are some, no others can be read"
    )
    effects: EffectsFormat = Field(
        default_factory=EffectsFormat, description="what is done on WhatsApp and on the platform; nothing by default"
    )
    replay: ReplayFormat | None = Field(None, description="how recorded responses are sent in batches")
    airflow: AirflowFormat = Field(default_factory=AirflowFormat, description="what its DAGs are like")
    tests: list[FlowTestFormat] = Field(default_factory=list, max_length=1000, description="its own tests")
    steps: list[StepFormat] = Field(min_length=1, max_length=MAX_STEPS, description="the first one is where it starts")
