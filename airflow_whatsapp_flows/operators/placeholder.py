"""The tasks of a flow with faults."""

from __future__ import annotations

from typing import Any, NoReturn

from airflow.sdk import BaseOperator, Context

from airflow_whatsapp_flows.operators.failures import TaskFailureError


class FlowFaultOperator(BaseOperator):
    """Replaces a step of a flow with faults, and fails immediately with the faults.

    Args:
        faults: every fault, with file, line and column.
        **kwargs: for ``BaseOperator``.
    """

    ui_color = "#f4c7c3"
    ui_fgcolor = "#000000"
    custom_operator_name = "Faults"

    def __init__(self, *, faults: str, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "retries": 0})
        self.faults = faults

    def execute(self, context: Context) -> NoReturn:
        """Fail.

        Raises:
            TaskFailureError: always; the message lists the faults.
        """
        raise TaskFailureError(f"the flow has faults; fix the file to restore the DAG:\n{self.faults}")
