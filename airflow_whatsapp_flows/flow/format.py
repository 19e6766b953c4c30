"""Flow format 1: the keys of a flow file, their types and defaults.

This is the file as it is written. What it means is in :mod:`~airflow_whatsapp_flows.flow.model`, and
:mod:`~airflow_whatsapp_flows.flow.loading` turns the one into the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

from airflow_whatsapp_flows.flow.body import BodyType
from airflow_whatsapp_flows.flow.delivery import KEY_LIFETIME, Delivery

MAX_STEPS = 500
StepName = Annotated[str, Field(min_length=1, max_length=100)]
Target = StepName | None
Scalar = str | int | float | bool | None
AnswerType = Literal[
    "ANY", "FREE_TEXT", "SINGLE_OPTION", "NUMBER", "URL", "EMAIL", "FILE", "DOCUMENT", "VIDEO", "IMAGE", "PHONE",
    "DATE", "TIME", "DATETIME", "BOOL", "LOCATION",
]  # fmt: skip
"""The platform's ``AnswerTypeEnum``."""
Comparison = Literal[
    "exact", "!exact", "gt", "gte", "lt", "lte", "isnull", "!isnull", "icontains", "!icontains"
]  # fmt: skip
"""The platform's ``ComparisonEnum``."""
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Rate = Annotated[float, Field(gt=0, le=100_000)]
HostRates = dict[Annotated[str, Field(min_length=1, max_length=255)], Rate]
RateOrRates = Annotated[
    Annotated[Rate, Tag("number")] | Annotated[HostRates, Tag("object")],
    Discriminator(lambda value: "object" if isinstance(value, Mapping) else "number"),
]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Step(_Written):
    leaves_value: ClassVar[bool] = False
    """Whether ``step.<name>`` holds something once it ran."""

    name: StepName
    platform_id: str | None = Field(None, max_length=100, description="id of the step on the platform; kept, not used")
    max_visits: int | None = Field(None, ge=1, le=10_000, description="visits of this step by one contact")
    on_max_visits: Target = Field(None, description="where to go when there are no visits left; else the walk fails")


class _WithText(_Written):
    body: str | None = Field(None, description="the text that the contact sees; a template")
    message_type: Literal["TEXT", "IMAGE", "VIDEO", "DOCUMENT", "AUDIO", "STICKER", "LOCATION"] = "TEXT"
    file_url: str | None = Field(None, max_length=2000, description="what is shown with the text; a template")


class _WithAnswer(_WithText):
    on_no_answer: Target = Field(None, description="where to go when there is no answer; else the walk ends there")
    on_answer_failed: Target = Field(None, description="where to go when the answer does not fit; else it fails")


class QuestionFormat(_Step, _WithAnswer):
    """Asks, and keeps the answer as ``step.<name>``."""

    leaves_value = True

    type: Literal["question"]
    next: Target = None
    answer_type: AnswerType = "ANY"
    answer_options: list[Annotated[str, Field(max_length=255)]] | None = None


class MenuFormat(_Step, _WithAnswer):
    """Offers options; each has its own exit."""

    leaves_value = True

    type: Literal["menu"]
    options: dict[Annotated[str, Field(max_length=255)], Target] = Field(min_length=1)


class MessageFormat(_Step, _WithText):
    """Says something; nothing is sent to WhatsApp."""

    type: Literal["message"]
    next: Target = None


class ConditionFormat(_Written):
    """One comparison; the conditions of a path are joined by AND."""

    field: str = Field(min_length=1, max_length=255, description="a reference without braces")
    comparison: Comparison
    value: Scalar = Field(None, description="compared with; a template where it is text")


class PathFormat(_Written):
    """One exit of a conditional."""

    name: str | None = Field(None, max_length=100)
    conditions: list[ConditionFormat] = Field(min_length=1)
    next: Target = None


class ConditionalFormat(_Step):
    """Takes the first path whose conditions all hold."""

    type: Literal["conditional"]
    paths: list[PathFormat] = Field(min_length=1)
    otherwise: Target = None


class RetryFormat(_Written):
    """When and how often an action is tried again."""

    attempts: int = Field(4, ge=1, le=20, description="tries in all, the first one included")
    wait: float = Field(1.0, ge=0, le=3600, description="seconds before the second try")
    max_wait: float = Field(60.0, ge=0, le=86_400, description="seconds that one wait has at most")
    backoff: float = Field(2.0, ge=1, le=10, description="each wait is this many times the one before")
    statuses: list[Annotated[int, Field(ge=300, le=599)]] | None = Field(
        None, description="status codes that are tried again; by delivery when absent"
    )
    slow_down_when: str | None = Field(
        None,
        max_length=2000,
        description="an expression over the result; a reply of which it holds was not processed, and is tried again",
    )


class ActionFormat(_Step):
    """Sends an HTTP request made from the contact's answers; its result is ``step.<name>``."""

    leaves_value = True
    type: Literal["action"]
    connection: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="id of an Airflow connection: origin and credentials"
    )
    method: Method = "POST"
    url: Annotated[str, Field(min_length=1, max_length=2000)]
    headers: dict[str, Scalar] = Field(default_factory=dict)
    query_params: dict[str, JsonValue] | list[tuple[str, JsonValue]] = Field(default_factory=dict)
    body_type: BodyType | None = Field(None, description="absent: by the Content-Type header, else by the body's shape")
    body: JsonValue = None
    timeout: float = Field(30.0, gt=0, le=3600, description="seconds for the whole exchange")
    retry: RetryFormat = Field(default_factory=RetryFormat)
    delivery: Delivery | None = Field(None, description="absent: by the method")
    idempotency_header: str = Field("Idempotency-Key", min_length=1, max_length=100)
    key_lifetime: float = Field(
        KEY_LIFETIME, gt=0, le=31_536_000, description="seconds for which one key is sent again under keyed"
    )
    success_when: str | None = Field(None, max_length=2000, description="an expression over the result")
    on_success: Target = None
    on_error: Target = None


class EndFormat(_Step):
    """Ends the walk; lets an error exit end red."""

    type: Literal["end"]
    state: Literal["completed", "failed"] = "completed"
    reason: str | None = Field(None, max_length=1000, description="a template")


AnyStepFormat = QuestionFormat | MenuFormat | MessageFormat | ConditionalFormat | ActionFormat | EndFormat
StepFormat = Annotated[AnyStepFormat, Field(discriminator="type")]
STEP_FORMATS: Mapping[str, type[AnyStepFormat]] = {
    get_args(step.model_fields["type"].annotation)[0]: step for step in get_args(AnyStepFormat)
}
"""The steps by their ``type``, in the order in which they are told to people."""


class VariableFormat(_Written):
    """One of the flow's ``flow_execution_variables``."""

    type: Literal["text", "number", "bool", "list", "object"] = "text"
    default: JsonValue = None
    required: bool = False
    description: str | None = None


class QuietHoursFormat(_Written):
    """Hours of the day at which nobody is sent anything, in the contact's zone; over midnight where end is earlier."""

    start: TimeOfDay
    end: TimeOfDay


class ReplayFormat(_Written):
    """How recorded responses are sent in batches."""

    schedule: str | None = Field(None, min_length=1, max_length=200, description="cron expression or preset of Airflow")
    source: str | None = Field(None, min_length=1, max_length=2000, description="where the responses are read from")
    query: str | None = Field(None, min_length=1, max_length=65_536, description="SQL; then source is a database")
    send: Literal["failed", "all"] = Field("failed", description="actions that are sent when a response has results")
    rate: RateOrRates | None = Field(None, description="requests a second and host; or an object, host to that")
    concurrency: int = Field(64, ge=1, le=1024, description="requests under way at a time")
    chunk_size: int = Field(1000, ge=1, le=100_000, description="responses for each task of Airflow")
    approve_above: int | None = Field(None, ge=0, description="responses above which a person must approve")
    max_failures: int | None = Field(None, ge=1, description="contacts that may fail before the replay is stopped")
    fail_when: Literal["any", "budget", "never"] = Field("any", description="what makes the replay's DAG run fail")
    max_age: float | None = Field(None, gt=0, description="seconds since created_on; older responses are skipped")
    only_once: bool = Field(False, description="whether a phone gets each step once, whatever the response's id")
    opt_out: list[Annotated[str, Field(min_length=1, max_length=50)]] = Field(
        default_factory=list, description="phones that nothing is sent for"
    )
    quiet_hours: QuietHoursFormat | None = None


class FlowFormat(_Written):
    """A flow file."""

    schema_: str | None = Field(None, alias="$schema")
    flow_format: Literal[1]
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,99}$", description="also the DAG's id and the file's name")
    name: str | None = Field(None, max_length=200)
    version: str | int | None = None
    start: StepName | None = Field(None, description="name of the first step; the first one listed when absent")
    timezone: str = Field("UTC", description="IANA name; what global.Date and its kin are told in")
    missing: Literal["error", "null", "empty"] = Field("error", description="what a reference without a value is")
    max_visits: int = Field(100, ge=1, le=10_000, description="visits of one step by one contact")
    variables: dict[str, VariableFormat] = Field(default_factory=dict)
    replay: ReplayFormat | None = None
    steps: list[StepFormat] = Field(min_length=1, max_length=MAX_STEPS)
