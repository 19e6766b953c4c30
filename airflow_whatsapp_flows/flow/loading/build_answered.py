"""Builds the steps that say something, and those that a contact answers."""

from __future__ import annotations

from typing import TypedDict

from msgspec import UNSET

from airflow_whatsapp_flows.flow.answers import (
    RANGED_TYPES,
    AnswerMisfit,
    AnswerRule,
    ListedOptions,
    check_bound,
    check_country,
)
from airflow_whatsapp_flows.flow.format.acting import MessageFormat
from airflow_whatsapp_flows.flow.format.asking import (
    AnsweredStep,
    AnswerRangeFormat,
    MenuFormat,
    QuestionFormat,
    TemplateFormat,
)
from airflow_whatsapp_flows.flow.loading.builder import Builders, StepBuilder
from airflow_whatsapp_flows.flow.model.messages import Menu, Message, MessageContent, Question, TemplateMessage


class _AnswerFields(TypedDict):
    content: MessageContent
    rule: AnswerRule
    wait: float | None
    max_answer_attempts: int | None
    on_no_answer: str | None
    on_answer_failed: str | None


def build_message(builder: StepBuilder, step: MessageFormat) -> Message:
    """A message."""
    return Message(**builder.common, content=builder.message_content(step), next=step.next)


def build_question(builder: StepBuilder, step: QuestionFormat) -> Question:
    """A question."""
    return Question(**builder.common, **_answer_fields(builder, step), next=step.next)


def build_menu(builder: StepBuilder, step: MenuFormat) -> Menu:
    """A menu."""
    return Menu(**builder.common, **_answer_fields(builder, step), options=step.options)


def build_template(builder: StepBuilder, step: TemplateFormat) -> TemplateMessage:
    """A template message."""
    return TemplateMessage(
        **builder.common,
        **_answer_fields(builder, step),
        options=step.options,
        has_next=step.next is not UNSET,
        next=None if step.next is UNSET else step.next,
    )


def _answer_fields(builder: StepBuilder, step: AnsweredStep) -> _AnswerFields:
    attempts = step.max_answer_attempts
    if attempts is None and step.on_answer_failed is not None:
        attempts = 1
    return _AnswerFields(
        content=builder.message_content(step),
        rule=_rule(builder, step),
        wait=None if step.wait is None else builder.seconds(step.wait.amount, step.wait.unit, "wait", "amount"),
        max_answer_attempts=attempts,
        on_no_answer=step.on_no_answer,
        on_answer_failed=step.on_answer_failed,
    )


def _rule(builder: StepBuilder, step: AnsweredStep) -> AnswerRule:
    limits = step.answer_range or AnswerRangeFormat()
    if step.answer_range is not None:
        _check_range(builder, step, step.answer_range)
    country = step.answer_phone_default_country
    if country is not None:
        builder.check(lambda: check_country(country), "answer_phone_default_country")
    return AnswerRule(
        answer_type=step.answer_type,
        options=tuple(step.answer_options or ()),
        listed=_list_options(builder, step),
        minimum=limits.min,
        maximum=limits.max,
        decimals=step.answer_allow_decimals,
        country=country,
    )


def _check_range(builder: StepBuilder, step: AnsweredStep, limits: AnswerRangeFormat) -> None:
    def check(bound: int | float | str) -> None:
        if step.answer_type not in RANGED_TYPES:
            allowed = ", ".join(RANGED_TYPES)
            raise AnswerMisfit(f"an answer of type {step.answer_type} has no range; allowed for: {allowed}")
        check_bound(step.answer_type, bound)

    for key, bound in (("min", limits.min), ("max", limits.max)):
        if bound is not None:
            builder.check(lambda bound=bound: check(bound), "answer_range", key)  # type: ignore[misc]


def _list_options(builder: StepBuilder, step: AnsweredStep) -> ListedOptions | None:
    written = step.options_from_variable
    if written is None:
        return None
    source = builder.reference(written.list, "options_from_variable", "list")
    if source is None:
        return None
    return ListedOptions(source, written.value, written.title or written.value)


BUILD_ANSWERED: Builders = {
    "question": build_question,
    "menu": build_menu,
    "message": build_message,
    "template": build_template,
}
