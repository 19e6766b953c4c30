"""Which exit an answer selects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from airflow_whatsapp_flows.flow.answers import AnswerMisfit
from airflow_whatsapp_flows.flow.model import Answered, Menu, Question, TemplateMessage
from airflow_whatsapp_flows.flow.options import find_option
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.language import Value


class Fit(Struct, frozen=True):
    """An answer that fits.

    Attributes:
        label: of the exit that it takes.
        target: name of the next step; ``None`` ends the walk.
        value: the converted answer.
        tried: number of answers tried, including this one.
    """

    label: str
    target: str | None
    value: Value
    tried: int


def fit_one(step: Answered, answers: Iterable[Value], values: Mapping[str, object]) -> Fit:
    """The first answer that fits.

    Args:
        step: what is answered.
        answers: in order, as recorded; at least one.
        values: the contact's values, by scope.

    Raises:
        AnswerMisfit: no answer fits; has the reason for the last one.
    """
    misfit = AnswerMisfit("there is no answer")
    for tried, answer in enumerate(answers, start=1):
        try:
            label, target, value = _fit(step, answer, values)
        except AnswerMisfit as error:
            misfit, error.answer = error, answer
        else:
            return Fit(label, target, value, tried)
    raise misfit


def misfit_reason(step: Answered, misfit: AnswerMisfit, hide: Callable[[str], str]) -> str:
    """Explain why an answer does not fit, with the answer and the expected type.

    Args:
        step: what was answered.
        misfit: of the answer.
        hide: replaces sensitive values with ``***``.
    """
    shown = hide(text_of(misfit.answer)).replace('"', "'")  # errors are grouped without what stands in quotes
    shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
    of_type = "" if step.rule.answer_type in ("ANY", "FREE_TEXT") else f" {step.rule.answer_type}"
    return f'the answer "{shown}" does not fit{of_type}: {misfit}'


def _fit(step: Answered, answer: Value, values: Mapping[str, object]) -> tuple[str, str | None, Value]:
    value = step.rule.read(answer, values)
    if isinstance(step, Question):
        return "next", step.next, value
    options = step.options if isinstance(step, (Menu, TemplateMessage)) else {}
    label = _option(options, answer)
    if label is not None:
        # "2" and "sales " are what the contact wrote; what was chosen is the option.
        return label, options[label], label if isinstance(value, str) and step.rule.answer_type in _TEXTS else value
    if isinstance(step, TemplateMessage) and (step.has_next or not options):
        return "next", step.next, value
    raise AnswerMisfit(f"it is not one of the options: {', '.join(list(options)[:10])}")


_LONGEST_SHOWN = 100  # characters of an answer
_TEXTS = ("ANY", "FREE_TEXT", "SINGLE_OPTION")


def _option(options: Mapping[str, str | None], answer: Value) -> str | None:
    labels = list(options)
    chosen = find_option(labels, text_of(answer))
    return None if chosen is None else labels[chosen]
