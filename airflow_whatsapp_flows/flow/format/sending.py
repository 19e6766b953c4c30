"""The action: a request to somebody's CRM."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from airflow_whatsapp_flows.flow.body import BodyType
from airflow_whatsapp_flows.flow.delivery.rule import KEY_LIFETIME
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.format.common import FormatModel, Scalar, StepBase, Target

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


class RetryFormat(FormatModel):
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


class ActionFormat(StepBase):
    """Sends an HTTP request made from the contact's answers; its result is ``step.<name>``."""

    leaves_value = True
    type: Literal["action"]
    connection: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="id of an Airflow connection: origin and credentials"
    )
    method: Method = Field("POST", description="of the request (RFC 9110 §9)")
    url: str = Field(
        min_length=1, max_length=2000, description="a template; relative to the connection's, or with a literal origin"
    )
    headers: dict[str, Scalar] = Field(default_factory=dict, description="texts are templates")
    query_params: dict[str, JsonValue] | list[tuple[str, JsonValue]] = Field(
        default_factory=dict, description="an object, or pairs of name and value; texts are templates"
    )
    body_type: BodyType | None = Field(None, description="absent: by the Content-Type header, else by the body's shape")
    body: JsonValue = Field(None, description="as body_type has it; texts are templates")
    timeout: float = Field(30.0, gt=0, le=3600, description="seconds for the whole exchange")
    retry: RetryFormat = Field(default_factory=RetryFormat, description="when it is tried again")
    delivery: Delivery | None = Field(None, description="absent: by the method")
    idempotency_header: str = Field(
        "Idempotency-Key",
        min_length=1,
        max_length=100,
        description="name of the header that carries the key under keyed",
    )
    key_lifetime: float = Field(
        KEY_LIFETIME, gt=0, le=31_536_000, description="seconds for which one key is sent again under keyed"
    )
    success_when: str | None = Field(None, max_length=2000, description="an expression over the result")
    on_success: Target = Field(None, description="where to go after a success; null ends the walk")
    on_error: Target = Field(None, description="where to go after an error; absent or null: it fails the walk")
