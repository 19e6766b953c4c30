"""The block ``tests``: tests of a flow, in its file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from airflow_whatsapp_flows.flow.format.common import FormatModel, StepName
from airflow_whatsapp_flows.flow.request.messages import ErrorKind


class ReplyFormat(FormatModel):
    """A reply to an action in a test; the replies to a step are used in order, and the last one repeats."""

    step: StepName = Field(description="name of the action")
    status_code: int = Field(200, ge=200, le=599, description="of the reply")
    headers: dict[str, str] = Field(default_factory=dict, description="of the reply")
    response: JsonValue = Field(None, description="content of the reply: text as it is, everything else as JSON")
    error: ErrorKind | None = Field(None, description="kind of the error, if there is no reply")


class ExpectedRequestFormat(FormatModel):
    """A request that a test expects; absent keys are not compared."""

    step: StepName | None = Field(None, description="name of the action")
    method: str | None = Field(None, max_length=10, description="method of the request, such as POST")
    url: str | None = Field(None, max_length=8000, description="with the query, without the connection's part")
    headers: dict[str, str] = Field(default_factory=dict, description="required headers")
    body: JsonValue = Field(None, description="text: the exact content; otherwise the parsed content")


class ExpectationFormat(FormatModel):
    """What a test expects; absent keys are not compared."""

    path: list[StepName] | None = Field(None, description="names of the steps, in order")
    state: Literal["completed", "failed", "in_doubt", "rejected"] | None = Field(None, description="the final state")
    requests: list[ExpectedRequestFormat] | None = Field(None, description="every request, in order")
    variables: dict[Annotated[str, Field(min_length=1, max_length=255)], JsonValue] = Field(
        default_factory=dict, description="reference to its final value"
    )


class FlowTestFormat(FormatModel):
    """One test of a flow: a response, canned replies, and the expected results. Nothing is sent."""

    name: str = Field(min_length=1, max_length=200, description="what the test checks")
    response: dict[str, JsonValue] = Field(default_factory=dict, description="the contact response to walk")
    replies: list[ReplyFormat] = Field(default_factory=list, description="the replies to the actions")
    now: str | None = Field(
        None, max_length=40, description="the time of global.Datetime and similar variables; default: 2026-01-01T12:00Z"
    )
    expect: ExpectationFormat = Field(description="the expected results")
