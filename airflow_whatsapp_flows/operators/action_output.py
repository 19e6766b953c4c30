"""The result of an action as a log line and as XComs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk.definitions.xcom_arg import PlainXComArg, XComArg
from airflow.sdk.exceptions import XComNotFound

from airflow_whatsapp_flows.flow.delivery.rule import RetryRule, why_not_again
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.reply.excerpt import error_line
from airflow_whatsapp_flows.flow.reply.result import ActionResult

OUTPUT_KEYS = ("ok", *ActionResult.__struct_fields__)
"""Keys of a result, as in ``op.output[key]``."""
LARGE = ("response", "headers")
"""The part of a result that the ledger stores instead of XCom."""


class ActionOutput(PlainXComArg):
    """The output of an action; ``output["response"]`` is one value of the result."""

    def __getitem__(self, item: str) -> XComArg:
        if item not in OUTPUT_KEYS:
            raise ValueError(f"the result of an action has no {item!r}{did_you_mean(str(item), OUTPUT_KEYS)}")
        return ActionValue(operator=self.operator, key=item)


class ActionValue(PlainXComArg):
    """One value of the result of an action, read from its XCom without a separate one.

    A reply that is too large for XCom is read from the ledger.
    """

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """Pull the result and return the value; see ``XComArg``."""
        result = PlainXComArg(self.operator).resolve(context)
        if result is None:
            raise XComNotFound(context["ti"].dag_id, self.operator.task_id, self.key)
        # A task behind a mapped task group reads the results of all its tasks.
        return [self._value(one) for one in result] if isinstance(result, list) else self._value(result)

    def _value(self, result: Mapping[str, Any]) -> Any:
        # Only a task that runs resolves values; a process that parses DAG files needs no ledger.
        from airflow_whatsapp_flows.operators.large_replies import read_whole

        return (read_whole(result) if self.key in LARGE else result)[self.key]

    def __str__(self) -> str:
        source = f"task_ids={self.operator.task_id!r}, dag_id={self.operator.dag_id!r}"
        return f"{{{{ task_instance.xcom_pull({source})[{self.key!r}] }}}}"


def result_line(result: ActionResult, rule: RetryRule) -> str:
    """Format a result as one line, for logs and task errors.

    Args:
        result: of an action.
        rule: of the action; used to explain why it was not sent again.
    """
    line, why = error_line(result), why_not_again(rule, result)
    return line if why is None else f"{line}; not repeated: {why}"
