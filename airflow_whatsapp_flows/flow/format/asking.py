"""The steps that a contact answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from airflow_whatsapp_flows.flow.format.common import DurationFormat, FormatModel, Label, StepWithText, Target

AnswerType = Literal[
    "ANY", "FREE_TEXT", "SINGLE_OPTION", "NUMBER", "URL", "EMAIL", "FILE", "DOCUMENT", "VIDEO", "IMAGE", "PHONE",
    "DATE", "TIME", "DATETIME", "BOOL", "LOCATION",
]  # fmt: skip
"""The platform's ``AnswerTypeEnum``."""


class OptionsFromVariableFormat(FormatModel):
    """Options that are a list of objects in a variable, such as the reply of an action."""

    list: str = Field(min_length=1, max_length=255, description="a reference without braces to a list of objects")
    value: str = Field(min_length=1, max_length=255, description="key of what the answer becomes")
    title: str | None = Field(
        None, min_length=1, max_length=255, description="key of what the contact sees; the value's when absent"
    )


class AnswerRangeFormat(FormatModel):
    """What a number, a date or a time lies between, both ends included."""

    min: int | float | Annotated[str, Field(min_length=1, max_length=50)] | None = Field(
        None, description="the least; a number, or text such as 2026-11-22 or 09:30; absent: no limit"
    )
    max: int | float | Annotated[str, Field(min_length=1, max_length=50)] | None = Field(
        None, description="the greatest; a number, or text such as 2026-11-22 or 09:30; absent: no limit"
    )


class AnsweredStep(StepWithText):
    """A step that waits for an answer, which becomes ``step.<name>``."""

    leaves_value = True

    wait: DurationFormat | None = Field(
        None, description="how long the platform waits for an answer; a recorded answer is not waited for"
    )
    on_no_answer: Target = Field(None, description="where to go when there is no answer; else the walk ends there")
    max_answer_attempts: int | None = Field(
        None,
        ge=1,
        le=32_767,
        description="recorded answers tried in one visit; absent: one where on_answer_failed is given, else all",
    )
    on_answer_failed: Target = Field(None, description="where to go when no answer fits; else the walk fails there")
    answer_type: AnswerType = Field("ANY", description="what the answer is read as")
    answer_options: list[Label] | None = Field(
        None, description="the answers that a SINGLE_OPTION may be; absent or empty: all"
    )
    options_from_variable: OptionsFromVariableFormat | None = Field(
        None, description="the answers that fit, from a variable"
    )
    answer_range: AnswerRangeFormat | None = Field(None, description="what a number, a date or a time lies between")
    answer_allow_decimals: bool = Field(True, description="whether a number may have decimals")
    answer_phone_default_country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = Field(
        None, description="country of a phone number without one (ISO 3166); the answer becomes E.164 then"
    )


class QuestionFormat(AnsweredStep):
    """Asks, and keeps the answer as ``step.<name>``."""

    type: Literal["question"]
    next: Target = Field(None, description="where to go with an answer that fits; null ends the walk")


class MenuFormat(AnsweredStep):
    """Offers options; each has its own exit."""

    type: Literal["menu"]
    options: dict[Label, Target] = Field(min_length=1, description="option to the step that it leads to")


class TemplateFormat(AnsweredStep):
    """Says an approved message template; with buttons, each has its own exit."""

    type: Literal["template"]
    options: dict[Label, Target] = Field(default_factory=dict, description="button to the step that it leads to")
    next: Target = Field(
        None, description="where to go without buttons, and with an answer that is none of them; null ends the walk"
    )
