"""Base of the step builders: parses texts, and collects faults with their locations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypedDict

from airflow_whatsapp_flows.flow.format import StepBase, StepWithText
from airflow_whatsapp_flows.flow.json_source import FlowFault, Path
from airflow_whatsapp_flows.flow.model import MessageContent, Step, Text
from airflow_whatsapp_flows.flow.reply.result import RESULT_NAMES
from airflow_whatsapp_flows.flow.template.cage import Expression
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.language import TemplateFault, Tree, faults_under, parse_tree, tree_faults
from airflow_whatsapp_flows.flow.template.references import Reference
from airflow_whatsapp_flows.flow.waiting import LONGEST, SECONDS


class Common(TypedDict):
    """What every step has."""

    name: str
    max_visits: int
    on_max_visits: str | None
    id: str | None
    platform_id: str | None


class StepBuilder:
    """Builds the parts of one step.

    Args:
        step: as written in the file.
        path: its position in the file.
        flow: how to parse its texts.

    Attributes:
        faults: every fault found so far.
    """

    def __init__(self, step: StepBase, path: Path, flow: FlowTexts) -> None:
        self.faults: list[FlowFault] = []
        self.flow = flow
        self.common = Common(
            name=step.name,
            max_visits=step.max_visits or flow.max_visits,
            on_max_visits=step.on_max_visits,
            id=step.id,
            platform_id=step.platform_id,
        )
        self._path = path
        self._name = step.name

    def message_content(self, step: StepWithText) -> MessageContent:
        """What a step says."""
        variables: dict[str, Tree] = {}
        for name, value in step.whatsapp_template_variables.items():
            faults = list(tree_faults(value, self.flow.language))
            for fault in faults:
                self.add(fault, "whatsapp_template_variables", name)
            if not faults:
                variables[name] = parse_tree(value, self.flow.language)
        return MessageContent(
            body=self.text(step.body, "body"),
            file_url=self.text(step.file_url, "file_url"),
            whatsapp_template=step.whatsapp_template,
            whatsapp_template_variables=variables,
        )

    def text(self, text: str | None, *path: str | int) -> Text:
        """Parse a text of the step; ``None`` if it has a fault."""
        if text is None:
            return None
        try:
            return self.flow.language.parse(text)
        except TemplateFault as fault:
            self.add(fault, *path)
            return None

    def texts(self, texts: Collection[str], *path: str | int) -> tuple[Text, ...]:
        """The texts of a list."""
        return tuple(self.text(text, *path, index) for index, text in enumerate(texts))

    def reference(self, written: str, *path: str | int) -> Reference | None:
        """Parse a bare variable; ``None`` if it has a fault."""
        try:
            return self.flow.reference(written)
        except TemplateFault as fault:
            self.add(TemplateFault(fault.message), *path)
            return None

    def over_result(self, source: str | None, *path: str) -> Expression | None:
        """An expression over the result of an action."""
        if source is None:
            return None
        try:
            return Expression(source, RESULT_NAMES)
        except TemplateFault as fault:
            self.add(TemplateFault(fault.message, fault.offset), *path)
            return None

    def seconds(self, amount: float, unit: str, *path: str | int) -> float:
        """Parse a duration; one that exceeds the maximum wait is a fault.

        Args:
            amount: the duration, in the unit.
            unit: of :data:`~airflow_whatsapp_flows.flow.waiting.SECONDS`.
            path: of the amount, from the step.
        """
        seconds = amount * SECONDS[unit]
        if seconds > LONGEST:
            days = LONGEST // SECONDS["DAY"]
            self.add(
                TemplateFault(f"{amount:,.10g} {unit} is longer than a year; at most {days} days are allowed"), *path
            )
        return seconds

    def check(self, check: Callable[[], object], *path: str | int) -> None:
        """Add the error of a check as a fault of the value at a path.

        Args:
            check: raises a ``ValueError`` with the message of the fault.
            path: from the step.
        """
        try:
            check()
        except ValueError as error:
            self.add(TemplateFault(str(error)), *path)

    def add(self, fault: TemplateFault, *path: str | int) -> None:
        """Add a fault of the value at a path from the step."""
        for one in faults_under(fault, *self._path, *path):
            self.faults.append(FlowFault(one.message, one.path, self._name, one.offset))


class FlowTexts:
    """How to parse the texts of one flow.

    Args:
        value: the file as plain data; invalid settings fall back to their defaults.
        names: of its steps.

    Attributes:
        language: of its templates.
        max_visits: default for steps.
        timezone: IANA name.
    """

    def __init__(self, value: Mapping[str, Any], names: frozenset[str]) -> None:
        missing, visits, timezone = value.get("missing"), value.get("max_visits", 100), value.get("timezone", "UTC")
        self.language = CagedLanguage(
            names,
            missing if missing in ("null", "empty") else "error",
            "activecampaign" if value.get("syntax") == "activecampaign" else "hilos",
        )
        self.max_visits = visits if isinstance(visits, int) else 100
        self.timezone = timezone if isinstance(timezone, str) else "UTC"

    def reference(self, written: str) -> Reference:
        """Parse a variable, bare or as a placeholder.

        Raises:
            TemplateFault: it is none.
        """
        return self.language.parse_variable(written)


Builders = Mapping[str, Callable[[StepBuilder, Any], Step | None]]
"""What builds a step from its format, by the step's ``type``; ``None`` when it has a fault."""
