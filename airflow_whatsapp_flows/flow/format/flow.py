"""Flow format 1: the keys of a flow file, their types and defaults.

This is the file's syntax. Its meaning is in :mod:`~airflow_whatsapp_flows.flow.model`, and
:mod:`~airflow_whatsapp_flows.flow.loading.load` converts one to the other.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from msgspec import Meta, field

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
from airflow_whatsapp_flows.flow.format.common import FormatModel, JsonValue, StepName
from airflow_whatsapp_flows.flow.format.replay import ReplayFormat
from airflow_whatsapp_flows.flow.format.sending import ActionFormat
from airflow_whatsapp_flows.flow.format.testing import FlowTestFormat

MAX_STEPS = 500
FLOW_ID = r"[a-z0-9][a-z0-9_-]{0,99}"
"""Pattern of a flow's ID, which is also the name of its file and of its DAG."""
ShortText = Annotated[str, Meta(min_length=1, max_length=255)]

StepFormat = (
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
STEP_FORMATS: Mapping[str, type[StepFormat]] = {step.type: step for step in get_args(StepFormat)}
"""The steps by ``type``, in the order in which messages list them."""


class VariableFormat(FormatModel, frozen=True, kw_only=True):
    """One of the flow's ``flow_execution_variables``."""

    type: Annotated[Literal["text", "number", "bool", "list", "object"], Meta(description="the type of its values")] = (
        "text"
    )
    default: Annotated[JsonValue, Meta(description="its default value")] = None
    required: Annotated[bool, Meta(description="whether to reject contacts without it")] = False
    description: Annotated[str | None, Meta(description="shown in Airflow's form")] = None


class EffectsFormat(FormatModel, frozen=True, kw_only=True):
    """Effects on WhatsApp and on the platform in addition to the flow's own requests; none by default."""

    connection: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)] | None,
        Meta(description="the id of an Airflow connection to the platform"),
    ] = None
    messages: Annotated[bool, Meta(description="whether to send messages to the contact")] = False
    contact_updates: Annotated[bool, Meta(description="whether to update contacts")] = False
    tags: Annotated[bool, Meta(description="whether to write tags")] = False
    flows: Annotated[bool, Meta(description="whether to start other flows")] = False


class AirflowFormat(FormatModel, frozen=True, kw_only=True):
    """Settings of the flow's DAGs in Airflow. The schedule applies to the replay."""

    start_date: Annotated[
        Annotated[str, Meta(min_length=10, max_length=40)] | None,
        Meta(description="the start of the replay's schedule: a date, or a date and time, in the flow's time zone"),
    ] = None
    catchup: Annotated[
        bool | None,
        Meta(
            description="whether the replay's schedule has a run for each interval since start_date, however late; "
            "default: whether the replay's source or query uses a date of the run"
        ),
    ] = None
    tags: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=100)]],
        Meta(max_length=50, description="tags in addition to 'whatsapp'"),
    ] = field(default_factory=list)
    owner: Annotated[ShortText | None, Meta(description="the owner of its tasks")] = None
    pool: Annotated[ShortText | None, Meta(description="the Airflow pool of its requests")] = None
    doc_md: Annotated[
        Annotated[str, Meta(max_length=65_536)] | None, Meta(description="documentation of the DAG; Markdown")
    ] = None
    max_active_runs: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)] | None, Meta(description="maximum active runs")
    ] = None
    retries: Annotated[int, Meta(ge=0, le=100, description="retries of tasks that send nothing")] = 3
    retry_delay: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="seconds before the first retry of a task that sends nothing; doubled each time",
        ),
    ] = 5.0
    inlets: Annotated[list[ShortText], Meta(max_length=50, description="URIs of the assets that it reads")] = field(
        default_factory=list
    )
    outlets: Annotated[list[ShortText], Meta(max_length=50, description="URIs of the assets that it writes")] = field(
        default_factory=list
    )


class FlowFormat(FormatModel, frozen=True, kw_only=True):
    """A flow file."""

    schema_: Annotated[str | None, Meta(description="the URL of the schema for editors; ignored")] = field(
        default=None, name="$schema"
    )
    flow_format: Annotated[Literal[1], Meta(description="the version of the format")]
    id: Annotated[str, Meta(pattern=rf"^{FLOW_ID}\Z", description="also the id of the DAG and the name of the file")]
    name: Annotated[
        Annotated[str, Meta(max_length=200)] | None, Meta(description="the display name; default: the id")
    ] = None
    version: Annotated[str | int | None, Meta(description="the version of the flow; informational")] = None
    syntax: Annotated[
        Literal["hilos", "activecampaign"],
        Meta(description="the placeholder syntax: {{ contact.phone }}, or also %contact.phone%"),
    ] = "hilos"
    start: Annotated[StepName | None, Meta(description="the first step; default: the first one listed")] = None
    timezone: Annotated[str, Meta(description="IANA name; the time zone of global.Date and similar variables")] = "UTC"
    default_country: Annotated[
        Annotated[str, Meta(min_length=2, max_length=2)] | None,
        Meta(description="the country of phone numbers without a country code (ISO 3166)"),
    ] = None
    identifiers: Annotated[
        list[ShortText],
        Meta(
            max_length=20,
            description="variables that identify a contact, in addition to contact.id, phone, user_id, and email",
        ),
    ] = field(default_factory=list)
    missing: Annotated[
        Literal["error", "null", "empty"], Meta(description="the result of a reference without a value")
    ] = "error"
    max_visits: Annotated[int, Meta(ge=1, le=10_000, description="maximum visits of one step by one contact")] = 100
    sensitive: Annotated[
        list[ShortText],
        Meta(
            max_length=200, description="variables whose values are hidden in everything that is recorded or displayed"
        ),
    ] = field(default_factory=list)
    not_secret: Annotated[
        list[ShortText],
        Meta(
            max_length=200,
            description="names of headers, parameters, and fields whose literal values look like secrets but are not",
        ),
    ] = field(default_factory=list)
    imported: Annotated[dict[str, JsonValue] | None, Meta(description="where the flow came from; informational")] = None
    variables: Annotated[
        dict[str, VariableFormat],
        Meta(description="its flow_execution_variables; if any are declared, steps can read no others"),
    ] = field(default_factory=dict)
    effects: Annotated[
        EffectsFormat, Meta(description="which steps take effect on WhatsApp and on the platform; default: none")
    ] = field(default_factory=EffectsFormat)
    replay: Annotated[ReplayFormat | None, Meta(description="how recorded responses are replayed in batches")] = None
    airflow: Annotated[AirflowFormat, Meta(description="settings of its DAGs")] = field(default_factory=AirflowFormat)
    tests: Annotated[list[FlowTestFormat], Meta(max_length=1000, description="the tests of the flow")] = field(
        default_factory=list
    )
    steps: Annotated[
        list[StepFormat],
        Meta(min_length=1, max_length=MAX_STEPS, description="the flow starts at the first one unless start is set"),
    ]
