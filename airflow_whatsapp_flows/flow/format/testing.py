"""The block ``tests``: what a flow does with a response, told beside it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from airflow_whatsapp_flows.flow.format.common import FormatModel, StepName
from airflow_whatsapp_flows.flow.request.messages import ErrorKind


class ReplyFormat(FormatModel):
    """What an action is answered in a test; the replies of a step are used in their order, the last one for good."""

    step: StepName = Field(description="name of the action")
    status_code: int = Field(200, ge=200, le=599, description="of the reply")
    headers: dict[str, str] = Field(default_factory=dict, description="of the reply")
    response: JsonValue = Field(None, description="its content: text as it is; everything else is sent as JSON")
    error: ErrorKind | None = Field(None, description="kind of the error, where there is no reply")


class ExpectedRequestFormat(FormatModel):
    """A request that a test expects; what it does not say may be anything."""

    step: StepName | None = Field(None, description="name of the action")
    method: str | None = Field(None, max_length=10, description="of the request, such as POST")
    url: str | None = Field(None, max_length=8000, description="with the query; the connection's part left out")
    headers: dict[str, str] = Field(default_factory=dict, description="those that must be there")
    body: JsonValue = Field(None, description="text: the very content; else what the content is when it is parsed")


class ExpectationFormat(FormatModel):
    """What a test expects; what it does not say may be anything."""

    path: list[StepName] | None = Field(None, description="names of the steps, in order")
    state: Literal["completed", "failed", "in_doubt", "rejected"] | None = Field(None, description="how it ends")
    requests: list[ExpectedRequestFormat] | None = Field(None, description="every request, in order")
    variables: dict[Annotated[str, Field(min_length=1, max_length=255)], JsonValue] = Field(
        default_factory=dict, description="reference to the value that it has in the end"
    )


class FlowTestFormat(FormatModel):
    """One test of a flow: a response, canned replies, and what must come of them. Nothing is sent."""

    name: str = Field(min_length=1, max_length=200, description="what it promises")
    response: dict[str, JsonValue] = Field(default_factory=dict, description="the contact response that is walked")
    replies: list[ReplyFormat] = Field(default_factory=list, description="what the actions are answered")
    now: str | None = Field(
        None, max_length=40, description="what global.Datetime and its kin are made of; 2026-01-01T12:00Z when absent"
    )
    expect: ExpectationFormat = Field(description="what must come of it")
