"""The action: a request to a CRM."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from airflow_whatsapp_flows.flow.body import BodyType
from airflow_whatsapp_flows.flow.delivery.rule import KEY_LIFETIME
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.format.common import FormatModel, Scalar, StepBase, Target

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


class RetryFormat(FormatModel):
    """When and how often to retry an action."""

    attempts: int = Field(4, ge=1, le=20, description="maximum attempts, including the first")
    wait: float = Field(1.0, ge=0, le=3600, description="seconds before the second attempt")
    max_wait: float = Field(60.0, ge=0, le=86_400, description="maximum seconds of one wait")
    backoff: float = Field(2.0, ge=1, le=10, description="factor by which each wait is longer than the previous one")
    statuses: list[Annotated[int, Field(ge=300, le=599)]] | None = Field(
        None, description="status codes to retry; absent: depends on delivery"
    )
    slow_down_when: str | None = Field(
        None,
        max_length=2000,
        description="an expression over the result; if true, the server did not process the request, and it is retried",
    )


class ActionFormat(StepBase):
    """Sends an HTTP request built from the contact's answers; its result is ``step.<name>``."""

    leaves_value = True
    type: Literal["action"]
    connection: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="the id of an Airflow connection: origin and credentials"
    )
    method: Method = Field("POST", description="the method of the request (RFC 9110 §9)")
    url: str = Field(
        min_length=1,
        max_length=2000,
        description="a template; relative to the connection's URL, or with a literal origin",
    )
    headers: dict[str, Scalar] = Field(default_factory=dict, description="text values are templates")
    query_params: dict[str, JsonValue] | list[tuple[str, JsonValue]] = Field(
        default_factory=dict, description="an object, or pairs of name and value; text values are templates"
    )
    body_type: BodyType | None = Field(
        None, description="absent: determined from the Content-Type header, or from the body"
    )
    body: JsonValue = Field(None, description="the content, as body_type requires; text values are templates")
    timeout: float = Field(30.0, gt=0, le=3600, description="seconds for the entire exchange")
    retry: RetryFormat = Field(default_factory=RetryFormat, description="when to retry")
    delivery: Delivery | None = Field(None, description="absent: depends on the method")
    idempotency_header: str = Field(
        "Idempotency-Key",
        min_length=1,
        max_length=100,
        description="the header that carries the key for keyed",
    )
    key_lifetime: float = Field(
        KEY_LIFETIME, gt=0, le=31_536_000, description="seconds for which one key is reused for keyed"
    )
    success_when: str | None = Field(None, max_length=2000, description="an expression over the result")
    on_success: Target = Field(None, description="the next step after a success; null ends the walk")
    on_error: Target = Field(None, description="the next step after an error; absent or null: the walk fails")
