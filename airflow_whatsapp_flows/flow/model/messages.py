"""The steps that say something, and those that a contact answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.answers import AnswerRule
from airflow_whatsapp_flows.flow.model.step import Exit, StepBase, Text
from airflow_whatsapp_flows.flow.template.language import Tree, leaves
from airflow_whatsapp_flows.flow.template.references import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageContent:
    """What a step says.

    Attributes:
        body: its text.
        file_url: what is shown with the text.
        whatsapp_template: id or name of an approved message template.
        whatsapp_template_variables: that template's own variables.
    """

    body: Text = None
    file_url: Text = None
    whatsapp_template: str | None = None
    whatsapp_template_variables: Mapping[str, Tree] = field(default_factory=dict)

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts."""
        return (self.body, self.file_url, *leaves(dict(self.whatsapp_template_variables)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(StepBase):
    """Says something; its text is rendered into the record."""

    content: MessageContent
    next: str | None = None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        return (Exit("next", self.next),)

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts."""
        return self.content.templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(StepBase):
    """A step whose recorded answer becomes ``step.<name>``.

    Attributes:
        content: what it asks with.
        rule: which answers fit, and what they are read as.
        wait: seconds that the platform waits for an answer; ``None`` when the flow does not say.
        max_answer_attempts: recorded answers that are tried in one visit; ``None`` for all.
        on_no_answer: name of the step that is gone on with without an answer.
        on_answer_failed: name of the step that is gone on with when no answer fits.
    """

    content: MessageContent = field(default_factory=MessageContent)
    rule: AnswerRule = field(default_factory=AnswerRule)
    wait: float | None = None
    max_answer_attempts: int | None = None
    on_no_answer: str | None = None
    on_answer_failed: str | None = None

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts."""
        return self.content.templates

    @property
    def fields(self) -> tuple[Reference, ...]:
        """Variables that it reads bare: the list that its options come from."""
        return () if self.rule.listed is None else (self.rule.listed.source,)

    @property
    def _other_exits(self) -> tuple[Exit, ...]:
        exits = (Exit("no answer", self.on_no_answer), Exit("answer failed", self.on_answer_failed))
        return tuple(way for way in exits if way.target is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Answered):
    """Asks."""

    next: str | None = None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        return (Exit("next", self.next), *self._other_exits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu(Answered):
    """Offers options; the recorded one chooses the exit."""

    options: Mapping[str, str | None]

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        return (*(Exit(label, target) for label, target in self.options.items()), *self._other_exits)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMessage(Answered):
    """Says an approved message template; with buttons, the recorded one chooses the exit.

    Attributes:
        options: button to the step that it leads to.
        has_next: whether ``next`` was given: then an answer that is no button goes there.
        next: name of the step that is gone on with otherwise.
    """

    options: Mapping[str, str | None] = field(default_factory=dict)
    has_next: bool = False
    next: str | None = None

    @property
    def waits(self) -> bool:
        """Whether it is gone on from only with an answer."""
        return bool(self.options) or self.wait is not None or self.on_no_answer is not None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        buttons = tuple(Exit(label, target) for label, target in self.options.items())
        onwards = () if buttons and not self.has_next else (Exit("next", self.next),)
        return (*buttons, *onwards, *self._other_exits)
