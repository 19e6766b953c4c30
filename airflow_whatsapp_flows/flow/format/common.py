"""What many parts of a flow file are made of."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

StepName = Annotated[str, Field(min_length=1, max_length=100)]
Target = StepName | None
Scalar = str | int | float | bool | None
Label = Annotated[str, Field(max_length=255)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class FormatModel(BaseModel):
    """An object of a flow file: it has the keys that are told here and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StepBase(FormatModel):
    """What every step has."""

    leaves_value: ClassVar[bool] = False
    """Whether ``step.<name>`` holds something once it ran."""

    name: StepName = Field(description="what other steps call it by; every step of a flow has another")
    id: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="what the step is known by in the ledger, whatever it is called; default: its name",
    )
    platform_id: str | None = Field(
        None, max_length=100, description="id of the step on the platform; it is known by that rather than by `id`"
    )
    max_visits: int | None = Field(None, ge=1, le=10_000, description="visits of this step by one contact")
    on_max_visits: Target = Field(None, description="where to go when there are no visits left; else the walk fails")


class StepWithText(StepBase):
    """A step that says something."""

    body: str | None = Field(None, description="the text that the contact sees; a template")
    message_type: Literal["TEXT", "IMAGE", "VIDEO", "DOCUMENT", "AUDIO", "STICKER", "LOCATION"] = Field(
        "TEXT", description="what the platform shows it as"
    )
    file_url: str | None = Field(None, max_length=2000, description="what is shown with the text; a template")
    whatsapp_template: str | None = Field(
        None, min_length=1, max_length=255, description="id or name of the message template that WhatsApp has approved"
    )
    whatsapp_template_variables: dict[str, JsonValue] = Field(
        default_factory=dict, description="what the message template's own variables are; texts are templates"
    )


class DurationFormat(FormatModel):
    """A length of time."""

    amount: float = Field(ge=0, le=31_536_000, description="how long, in the unit")
    unit: Literal["SECOND", "MINUTE", "HOUR", "DAY"] = Field(description="of the amount")
