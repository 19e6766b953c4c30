"""Templated fields that use a date: clearer errors for runs without a logical date."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jinja2
from airflow.sdk import BaseOperator

from airflow_whatsapp_flows.operators.failures import TaskFailureError

_DATED = re.compile(r"\b(?:ds(?:_nodash)?|ts(?:_nodash(?:_with_tz)?)?|logical_date|data_interval_(?:start|end))\b")


def hint_without_date(text: str, context: Mapping[str, Any]) -> str:
    """A hint if a text uses values that only a run with a logical date has; empty otherwise."""
    if context.get("logical_date") is not None or not _DATED.search(text):
        return ""
    return (
        ": this run has no logical date, because it was triggered without one or by an asset; set one when you "
        "trigger the DAG, or use {{ run_id }} or {{ dag_run.run_after }}"
    )


class DatedTemplates(BaseOperator):
    """An operator whose templated fields Airflow renders."""

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Any, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        written = {name: getattr(parent, name, None) for name in template_fields}
        try:
            super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        except jinja2.UndefinedError as error:
            for name, text in written.items():
                hint = hint_without_date(text, context) if isinstance(text, str) else ""
                if hint:  # the text may hold the password of a database
                    raise TaskFailureError(f"{self.task_id}: {name}: {error.message}{hint}") from None
            raise
