"""Building blocks of the flow file classes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

StepName = Annotated[str, Field(min_length=1, max_length=100)]
Target = StepName | None
Scalar = str | int | float | bool | None
Label = Annotated[str, Field(max_length=255)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class FormatModel(BaseModel):
    """An object in a flow file; unknown keys are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StepBase(FormatModel):
    """What every step has."""

    leaves_value: ClassVar[bool] = False
    """Whether ``step.<name>`` has a value once the step ran."""

    name: StepName = Field(description="the name other steps use for it; unique in the flow")
    id: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="identifies the step in the ledger when its name changes; default: its name",
    )
    platform_id: str | None = Field(
        None, max_length=100, description="id of the step on the platform; takes precedence over `id`"
    )
    max_visits: int | None = Field(None, ge=1, le=10_000, description="maximum visits of this step by one contact")
    on_max_visits: Target = Field(None, description="the next step when no visits are left; absent: the walk fails")


class StepWithText(StepBase):
    """A step that says something."""

    body: str | None = Field(None, description="the text that the contact sees; a template")
    message_type: Literal["TEXT", "IMAGE", "VIDEO", "DOCUMENT", "AUDIO", "STICKER", "LOCATION"] = Field(
        "TEXT", description="how the platform shows it"
    )
    file_url: str | None = Field(None, max_length=2000, description="media shown with the text; a template")
    whatsapp_template: str | None = Field(
        None, min_length=1, max_length=255, description="id or name of the approved WhatsApp message template"
    )
    whatsapp_template_variables: dict[str, JsonValue] = Field(
        default_factory=dict, description="values of the message template's own variables; text values are templates"
    )


class DurationFormat(FormatModel):
    """A duration."""

    amount: float = Field(ge=0, le=31_536_000, description="the duration, in the unit")
    unit: Literal["SECOND", "MINUTE", "HOUR", "DAY"] = Field(description="the unit of the amount")
