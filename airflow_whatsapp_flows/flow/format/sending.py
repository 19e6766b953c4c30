"""The action: a request to a CRM."""

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType, field

from airflow_whatsapp_flows.flow.body import BodyType
from airflow_whatsapp_flows.flow.delivery.rule import KEY_LIFETIME
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.format.common import FormatModel, JsonValue, Scalar, StepBase, Target

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


class RetryFormat(FormatModel, frozen=True, kw_only=True):
    """When and how often to retry an action."""

    attempts: Annotated[int, Meta(ge=1, le=20, description="maximum attempts, including the first")] = 4
    wait: Annotated[float, Meta(ge=0, le=3600, description="seconds before the second attempt")] = 1.0
    max_wait: Annotated[float, Meta(ge=0, le=86_400, description="maximum seconds of one wait")] = 60.0
    backoff: Annotated[
        float, Meta(ge=1, le=10, description="factor by which each wait is longer than the previous one")
    ] = 2.0
    statuses: Annotated[
        list[Annotated[int, Meta(ge=300, le=599)]] | None,
        Meta(description="status codes to retry; absent: depends on delivery"),
    ] = None
    slow_down_when: Annotated[
        Annotated[str, Meta(max_length=2000)] | None,
        Meta(
            description="an expression over the result; if true, the server did not process the request, and it is "
            "retried"
        ),
    ] = None


class ActionFormat(StepBase, frozen=True, kw_only=True, tag="action"):
    """Sends an HTTP request built from the contact's answers; its result is ``step.<name>``."""

    leaves_value = True
    type: ClassVar[str] = "action"
    connection: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)] | None,
        Meta(description="the id of an Airflow connection: origin and credentials"),
    ] = None
    method: Annotated[Method, Meta(description="the method of the request (RFC 9110 §9)")] = "POST"
    url: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=2000,
            description="a template; relative to the connection's URL, or with a literal origin",
        ),
    ]
    headers: Annotated[dict[str, Scalar], Meta(description="text values are templates")] = field(default_factory=dict)
    query_params: Annotated[
        dict[str, JsonValue] | list[tuple[str, JsonValue]],
        Meta(description="an object, or pairs of name and value; text values are templates"),
    ] = field(default_factory=dict)
    body_type: Annotated[
        BodyType | None, Meta(description="absent: determined from the Content-Type header, or from the body")
    ] = None
    body: Annotated[
        JsonValue | UnsetType, Meta(description="the content, as body_type requires; text values are templates")
    ] = UNSET
    timeout: Annotated[float, Meta(le=3600, gt=0, description="seconds for the entire exchange")] = 30.0
    retry: Annotated[RetryFormat, Meta(description="when to retry")] = field(default_factory=RetryFormat)
    delivery: Annotated[Delivery | None, Meta(description="absent: depends on the method")] = None
    idempotency_header: Annotated[
        str, Meta(min_length=1, max_length=100, description="the header that carries the key for keyed")
    ] = "Idempotency-Key"
    key_lifetime: Annotated[
        float, Meta(le=31_536_000, gt=0, description="seconds for which one key is reused for keyed")
    ] = KEY_LIFETIME
    success_when: Annotated[
        Annotated[str, Meta(max_length=2000)] | None, Meta(description="an expression over the result")
    ] = None
    record_url: Annotated[
        Annotated[str, Meta(min_length=1, max_length=2000)] | None,
        Meta(
            description="a link for people to what the action created: a template over the result, with a literal "
            "http(s) origin, or one placeholder whose value is the URL"
        ),
    ] = None
    on_success: Annotated[Target, Meta(description="the next step after a success; null ends the walk")] = None
    on_error: Annotated[Target, Meta(description="the next step after an error; absent or null: the walk fails")] = None
