"""Building the action."""

from __future__ import annotations

from dataclasses import replace

from airflow_whatsapp_flows.flow.body import ABSENT
from airflow_whatsapp_flows.flow.delivery.rule import RetryRule, default_delivery
from airflow_whatsapp_flows.flow.format import ActionFormat
from airflow_whatsapp_flows.flow.loading.builder import StepBuilder
from airflow_whatsapp_flows.flow.loading.success_checks import check_success_when
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.request.headers import parse_headers
from airflow_whatsapp_flows.flow.request.plan import RequestText, parse_request
from airflow_whatsapp_flows.flow.template.language import TemplateFault


def build_action(builder: StepBuilder, step: ActionFormat) -> Action | None:
    """An action; ``None`` when its request has a fault."""
    text = RequestText(
        url=step.url,
        method=step.method,
        headers=step.headers,
        query_params=step.query_params,
        body=step.body if "body" in step.model_fields_set else ABSENT,
        body_type=step.body_type,
        connection=step.connection,
    )
    plan, faults = parse_request(text, builder.flow.language)
    for fault in faults:
        builder.add(fault)
    try:
        parse_headers({step.idempotency_header: ""}, builder.flow.language)
    except TemplateFault as fault:
        builder.add(TemplateFault(fault.message, fault.offset), "idempotency_header")
    success_when = builder.over_result(step.success_when, "success_when")
    if success_when is not None:
        builder.check(lambda: check_success_when(success_when), "success_when")
    retry = _retry(builder, step)
    if plan is None:
        return None
    return Action(
        **builder.common,
        plan=plan,
        retry=retry,
        timeout=step.timeout,
        idempotency_header=step.idempotency_header,
        success_when=success_when,
        on_success=step.on_success,
        on_error=step.on_error,
    )


def _retry(builder: StepBuilder, step: ActionFormat) -> RetryRule:
    retry = step.retry
    rule = RetryRule.of(
        step.delivery or default_delivery(step.method),
        attempts=retry.attempts,
        wait=retry.wait,
        max_wait=retry.max_wait,
        backoff=retry.backoff,
        statuses=retry.statuses,
    )
    return replace(
        rule,
        key_lifetime=step.key_lifetime,
        has_error_exit=step.on_error is not None,
        slow_down_when=builder.over_result(retry.slow_down_when, "retry", "slow_down_when"),
    )
