"""The action: the step that sends a request."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_whatsapp_flows.flow.delivery.rule import RetryRule
from airflow_whatsapp_flows.flow.model.step import Exit, StepBase, Text
from airflow_whatsapp_flows.flow.reply.record_url import RecordUrl
from airflow_whatsapp_flows.flow.request.plan import RequestPlan
from airflow_whatsapp_flows.flow.template.cage import Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(StepBase):
    """Sends an HTTP request; ``step.<name>`` is its result.

    Attributes:
        plan: builds its request from a contact's values.
        retry: when to retry.
        timeout: seconds for the entire exchange.
        idempotency_header: name of the header that carries the key under ``keyed``.
        success_when: must be true for a 2xx reply to be a success.
        record_url: a link for people to what it created.
        has_error_exit: whether ``on_error`` was given; without it an error fails the walk.
    """

    plan: RequestPlan
    retry: RetryRule
    timeout: float = 30.0
    idempotency_header: str = "Idempotency-Key"
    success_when: Expression | None = None
    record_url: RecordUrl | None = None
    on_success: str | None = None
    on_error: str | None = None

    @property
    def has_error_exit(self) -> bool:
        """Whether an error continues with another step; otherwise it fails the walk."""
        return self.on_error is not None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        success = Exit("success", self.on_success)
        return (success, Exit("error", self.on_error)) if self.has_error_exit else (success,)

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts; ``success_when`` and ``record_url`` read only the result."""
        return self.plan.templates
