"""The block ``tests``: tests of a flow, in its file."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from airflow_whatsapp_flows.flow.format.common import FormatModel, JsonValue, StepName
from airflow_whatsapp_flows.flow.request.messages import ErrorKind


class ReplyFormat(FormatModel, frozen=True, kw_only=True):
    """A reply to an action in a test; the replies to a step are used in order, and the last one repeats."""

    step: Annotated[StepName, Meta(description="name of the action")]
    status_code: Annotated[int, Meta(ge=200, le=599, description="of the reply")] = 200
    headers: Annotated[dict[str, str], Meta(description="of the reply")] = field(default_factory=dict)
    response: Annotated[JsonValue, Meta(description="content of the reply: text as it is, everything else as JSON")] = (
        None
    )
    error: Annotated[ErrorKind | None, Meta(description="kind of the error, if there is no reply")] = None


class ExpectedRequestFormat(FormatModel, frozen=True, kw_only=True):
    """A request that a test expects; absent keys are not compared."""

    step: Annotated[StepName | None, Meta(description="name of the action")] = None
    method: Annotated[
        Annotated[str, Meta(max_length=10)] | None, Meta(description="method of the request, such as POST")
    ] = None
    url: Annotated[
        Annotated[str, Meta(max_length=8000)] | None, Meta(description="with the query, without the connection's part")
    ] = None
    headers: Annotated[dict[str, str], Meta(description="required headers")] = field(default_factory=dict)
    body: Annotated[
        JsonValue | UnsetType, Meta(description="text: the exact content; otherwise the parsed content")
    ] = UNSET


class ExpectationFormat(FormatModel, frozen=True, kw_only=True):
    """What a test expects; absent keys are not compared."""

    path: Annotated[list[StepName] | None, Meta(description="names of the steps, in order")] = None
    state: Annotated[
        Literal["completed", "failed", "in_doubt", "rejected"] | None, Meta(description="the final state")
    ] = None
    requests: Annotated[list[ExpectedRequestFormat] | None, Meta(description="every request, in order")] = None
    variables: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=255)], JsonValue],
        Meta(description="reference to its final value"),
    ] = field(default_factory=dict)


class FlowTestFormat(FormatModel, frozen=True, kw_only=True):
    """One test of a flow: a response, canned replies, and the expected results. Nothing is sent."""

    name: Annotated[str, Meta(min_length=1, max_length=200, description="what the test checks")]
    response: Annotated[dict[str, JsonValue], Meta(description="the contact response to walk")] = field(
        default_factory=dict
    )
    replies: Annotated[list[ReplyFormat], Meta(description="the replies to the actions")] = field(default_factory=list)
    now: Annotated[
        Annotated[str, Meta(max_length=40)] | None,
        Meta(description="the time of global.Datetime and similar variables; default: 2026-01-01T12:00Z"),
    ] = None
    expect: Annotated[ExpectationFormat, Meta(description="the expected results")]
