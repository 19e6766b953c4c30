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
    value: str = Field(min_length=1, max_length=255, description="key of the value that the answer becomes")
    title: str | None = Field(
        None, min_length=1, max_length=255, description="key of the text that the contact sees; default: value"
    )


class AnswerRangeFormat(FormatModel):
    """The range of a number, a date, or a time, both ends included."""

    min: int | float | Annotated[str, Field(min_length=1, max_length=50)] | None = Field(
        None, description="the minimum; a number, or text such as 2026-11-22 or 09:30; absent: no limit"
    )
    max: int | float | Annotated[str, Field(min_length=1, max_length=50)] | None = Field(
        None, description="the maximum; a number, or text such as 2026-11-22 or 09:30; absent: no limit"
    )


class AnsweredStep(StepWithText):
    """A step that waits for an answer, which becomes ``step.<name>``."""

    leaves_value = True

    wait: DurationFormat | None = Field(
        None, description="how long the platform waits for an answer; recorded answers need no wait"
    )
    on_no_answer: Target = Field(None, description="the next step when there is no answer; absent: the walk ends")
    max_answer_attempts: int | None = Field(
        None,
        ge=1,
        le=32_767,
        description="recorded answers to try in one visit; absent: one if on_answer_failed is set, otherwise all",
    )
    on_answer_failed: Target = Field(None, description="the next step when no answer fits; absent: the walk fails")
    answer_type: AnswerType = Field("ANY", description="the type that the answer is converted to")
    answer_options: list[Label] | None = Field(
        None, description="the answers allowed for a SINGLE_OPTION; absent or empty: all"
    )
    options_from_variable: OptionsFromVariableFormat | None = Field(
        None, description="the allowed answers, from a variable"
    )
    answer_range: AnswerRangeFormat | None = Field(None, description="the range of a number, a date, or a time")
    answer_allow_decimals: bool = Field(True, description="whether a number may have decimals")
    answer_phone_default_country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = Field(
        None, description="country of phone numbers without a country code (ISO 3166); converts the answer to E.164"
    )


class QuestionFormat(AnsweredStep):
    """Asks, and stores the answer as ``step.<name>``."""

    type: Literal["question"]
    next: Target = Field(None, description="the next step after an answer that fits; null ends the walk")


class MenuFormat(AnsweredStep):
    """Offers options; each has its own exit."""

    type: Literal["menu"]
    options: dict[Label, Target] = Field(min_length=1, description="option to next step")


class TemplateFormat(AnsweredStep):
    """Says an approved message template; with buttons, each has its own exit."""

    type: Literal["template"]
    options: dict[Label, Target] = Field(default_factory=dict, description="button to next step")
    next: Target = Field(
        None, description="the next step without buttons, or after an answer that is not a button; null ends the walk"
    )
