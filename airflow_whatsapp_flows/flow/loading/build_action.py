"""Building the action."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from jinja2 import nodes
from msgspec import UNSET

from airflow_whatsapp_flows.flow.body import ABSENT
from airflow_whatsapp_flows.flow.delivery.rule import RetryRule, default_delivery
from airflow_whatsapp_flows.flow.format.sending import ActionFormat
from airflow_whatsapp_flows.flow.loading.builder import StepBuilder
from airflow_whatsapp_flows.flow.model.action import Action
from airflow_whatsapp_flows.flow.reply.record_url import parse_record_url
from airflow_whatsapp_flows.flow.request.headers import parse_headers
from airflow_whatsapp_flows.flow.request.plan import RequestText, parse_request
from airflow_whatsapp_flows.flow.template.cage import Expression
from airflow_whatsapp_flows.flow.template.language import TemplateFault

_STATUS = "status_code"
_ASKED = range(200, 300)
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda item, items: item in items,
    "notin": lambda item, items: item not in items,
}


def build_action(builder: StepBuilder, step: ActionFormat) -> Action | None:
    """Build an action; ``None`` if its request has a fault."""
    text = RequestText(
        url=step.url,
        method=step.method,
        headers=step.headers,
        query_params=step.query_params,
        body=ABSENT if step.body is UNSET else step.body,
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
        builder.check(lambda: _check_success_when(success_when), "success_when")
    record_url = None
    if step.record_url is not None:
        try:
            record_url = parse_record_url(step.record_url)
        except TemplateFault as fault:
            builder.add(fault, "record_url")
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
        record_url=record_url,
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


def _check_success_when(expression: Expression) -> None:
    """Check that ``success_when`` does not ask for a status that it is never asked of.

    Raises:
        ValueError: a comparison of ``status_code`` is false of every 2xx status.
    """
    for comparison in _comparisons(expression.tree):
        if not any(_holds(comparison, status) for status in _ASKED):
            raise ValueError(
                "success_when is evaluated only for replies with status 200 to 299, but compares status_code with "
                "other values; every other status takes the error exit: handle it there, with a conditional on "
                "step.<action>.status_code"
            )


def _comparisons(node: nodes.Node) -> Iterator[nodes.Compare]:
    """Comparisons of the status with literals; what is negated, or only chooses, may well be false."""
    if isinstance(node, nodes.Compare):
        operands = [node.expr, *(operand.expr for operand in node.ops)]
        if any(_is_status(operand) for operand in operands) and all(map(_is_known, operands)):
            yield node
    elif not isinstance(node, (nodes.Not, nodes.CondExpr)):
        for child in node.iter_child_nodes():
            yield from _comparisons(child)


def _is_status(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == _STATUS


def _is_known(node: nodes.Node) -> bool:
    if isinstance(node, (nodes.List, nodes.Tuple)):
        return all(isinstance(item, nodes.Const) for item in node.items)
    return isinstance(node, nodes.Const) or _is_status(node)


def _value(node: nodes.Node, status: int) -> Any:
    if isinstance(node, (nodes.List, nodes.Tuple)):
        return [item.value for item in node.items if isinstance(item, nodes.Const)]
    return node.value if isinstance(node, nodes.Const) else status


def _holds(comparison: nodes.Compare, status: int) -> bool:
    left = _value(comparison.expr, status)
    for operand in comparison.ops:
        right = _value(operand.expr, status)
        try:
            if not _OPERATORS[operand.op](left, right):
                return False
        except TypeError:
            return False
        left = right
    return True
