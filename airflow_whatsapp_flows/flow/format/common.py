"""Building blocks of the flow file classes."""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, field


class AnyJson:
    """Marks a value that may be any JSON."""


class ByJsonType:
    """Marks a union of which the JSON type of the value selects one: only the fault of that one is reported.

    Args:
        *types: the JSON type of each alternative; the last one also stands for all other types.
    """

    def __init__(self, *types: Literal["object", "array", "text", "number", "boolean"]) -> None:
        self.types = types


JsonValue = Annotated[Any, AnyJson()]
StepName = Annotated[str, Meta(min_length=1, max_length=100)]
Target = StepName | None
Scalar = str | int | float | bool | None
Label = Annotated[str, Meta(max_length=255)]
TimeOfDay = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")]


class FormatModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object in a flow file; unknown keys are rejected."""


class StepBase(FormatModel, frozen=True, kw_only=True, tag_field="type"):
    """What every step has."""

    type: ClassVar[str]
    leaves_value: ClassVar[bool] = False
    """Whether ``step.<name>`` has a value once the step ran."""

    name: Annotated[StepName, Meta(description="the name other steps use for it; unique in the flow")]
    id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=100)] | None,
        Meta(description="identifies the step in the ledger when its name changes; default: its name"),
    ] = None
    platform_id: Annotated[
        Annotated[str, Meta(max_length=100)] | None,
        Meta(description="id of the step on the platform; takes precedence over `id`"),
    ] = None
    max_visits: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)] | None, Meta(description="maximum visits of this step by one contact")
    ] = None
    on_max_visits: Annotated[
        Target, Meta(description="the next step when no visits are left; absent: the walk fails")
    ] = None


class StepWithText(StepBase, frozen=True, kw_only=True):
    """A step that says something."""

    body: Annotated[str | None, Meta(description="the text that the contact sees; a template")] = None
    message_type: Annotated[
        Literal["TEXT", "IMAGE", "VIDEO", "DOCUMENT", "AUDIO", "STICKER", "LOCATION"],
        Meta(description="how the platform shows it"),
    ] = "TEXT"
    file_url: Annotated[
        Annotated[str, Meta(max_length=2000)] | None, Meta(description="media shown with the text; a template")
    ] = None
    whatsapp_template: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255)] | None,
        Meta(description="id or name of the approved WhatsApp message template"),
    ] = None
    whatsapp_template_variables: Annotated[
        dict[str, JsonValue],
        Meta(description="values of the message template's own variables; text values are templates"),
    ] = field(default_factory=dict)


class DurationFormat(FormatModel, frozen=True, kw_only=True):
    """A duration."""

    amount: Annotated[float, Meta(ge=0, le=31_536_000, description="the duration, in the unit")]
    unit: Annotated[Literal["SECOND", "MINUTE", "HOUR", "DAY"], Meta(description="the unit of the amount")]
