"""The steps that a contact answers."""

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType, field

from airflow_whatsapp_flows.flow.format.common import DurationFormat, FormatModel, Label, StepWithText, Target

AnswerType = Literal[
    "ANY", "FREE_TEXT", "SINGLE_OPTION", "NUMBER", "URL", "EMAIL", "FILE", "DOCUMENT", "VIDEO", "IMAGE", "PHONE",
    "DATE", "TIME", "DATETIME", "BOOL", "LOCATION",
]  # fmt: skip
"""The platform's ``AnswerTypeEnum``."""


class OptionsFromVariableFormat(FormatModel, frozen=True, kw_only=True):
    """Options that are a list of objects in a variable, such as the reply of an action."""

    list: Annotated[
        str, Meta(min_length=1, max_length=255, description="a reference without braces to a list of objects")
    ]
    value: Annotated[str, Meta(min_length=1, max_length=255, description="key of the value that the answer becomes")]
    title: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255)] | None,
        Meta(description="key of the text that the contact sees; default: value"),
    ] = None


class AnswerRangeFormat(FormatModel, frozen=True, kw_only=True):
    """The range of a number, a date, or a time, both ends included."""

    min: Annotated[
        int | float | Annotated[str, Meta(min_length=1, max_length=50)] | None,
        Meta(description="the minimum; a number, or text such as 2026-11-22 or 09:30; absent: no limit"),
    ] = None
    max: Annotated[
        int | float | Annotated[str, Meta(min_length=1, max_length=50)] | None,
        Meta(description="the maximum; a number, or text such as 2026-11-22 or 09:30; absent: no limit"),
    ] = None


class AnsweredStep(StepWithText, frozen=True, kw_only=True):
    """A step that waits for an answer, which becomes ``step.<name>``."""

    leaves_value = True

    wait: Annotated[
        DurationFormat | None,
        Meta(description="how long the platform waits for an answer; recorded answers need no wait"),
    ] = None
    on_no_answer: Annotated[
        Target, Meta(description="the next step when there is no answer; absent: the walk ends")
    ] = None
    max_answer_attempts: Annotated[
        Annotated[int, Meta(ge=1, le=32_767)] | None,
        Meta(description="recorded answers to try in one visit; absent: one if on_answer_failed is set, otherwise all"),
    ] = None
    on_answer_failed: Annotated[
        Target, Meta(description="the next step when no answer fits; absent: the walk fails")
    ] = None
    answer_type: Annotated[AnswerType, Meta(description="the type that the answer is converted to")] = "ANY"
    answer_options: Annotated[
        list[Label] | None, Meta(description="the answers allowed for a SINGLE_OPTION; absent or empty: all")
    ] = None
    options_from_variable: Annotated[
        OptionsFromVariableFormat | None, Meta(description="the allowed answers, from a variable")
    ] = None
    answer_range: Annotated[AnswerRangeFormat | None, Meta(description="the range of a number, a date, or a time")] = (
        None
    )
    answer_allow_decimals: Annotated[bool, Meta(description="whether a number may have decimals")] = True
    answer_phone_default_country: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")] | None,
        Meta(description="country of phone numbers without a country code (ISO 3166); converts the answer to E.164"),
    ] = None


class QuestionFormat(AnsweredStep, frozen=True, kw_only=True, tag="question"):
    """Asks, and stores the answer as ``step.<name>``."""

    type: ClassVar[str] = "question"
    next: Annotated[Target, Meta(description="the next step after an answer that fits; null ends the walk")] = None


class MenuFormat(AnsweredStep, frozen=True, kw_only=True, tag="menu"):
    """Offers options; each has its own exit."""

    type: ClassVar[str] = "menu"
    options: Annotated[dict[Label, Target], Meta(min_length=1, description="option to next step")]


class TemplateFormat(AnsweredStep, frozen=True, kw_only=True, tag="template"):
    """Says an approved message template; with buttons, each has its own exit."""

    type: ClassVar[str] = "template"
    options: Annotated[dict[Label, Target], Meta(description="button to next step")] = field(default_factory=dict)
    next: Annotated[
        Target | UnsetType,
        Meta(description="the next step without buttons, or after an answer that is not a button; null ends the walk"),
    ] = UNSET
