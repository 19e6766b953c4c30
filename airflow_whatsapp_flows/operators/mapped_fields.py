"""Mapped fields of a task: readable on the task, but never rendered, and never stored by Airflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from airflow.sdk.definitions._internal.expandinput import MappedArgument

from airflow_whatsapp_flows.flow.template.language import Data
from airflow_whatsapp_flows.operators.author_text import plain_data

_LONGEST_LABEL = 250  # characters of Airflow's column; a longer label fails a task that has succeeded
_LABEL = "map_index_label"


def take_mapped_fields(task: Any, context: Mapping[str, Any]) -> dict[str, Data]:
    """Find the template fields that are mapped for this task.

    The task keeps their values as attributes, so that ``map_index_template`` and callbacks can read them. Airflow
    renders the fields in ``template_fields`` and stores them for its pages: on this task, mapped fields are removed
    from the list, because a mapped value is personal data.

    Args:
        task: the operator of this map index.
        context: Airflow's, of the running task.

    Returns:
        Each mapped field as data.
    """
    found: dict[str, Data] = {}
    dag = task.get_dag()
    mapped = dag.task_dict.get(task.task_id) if dag else None
    for name in type(task).template_fields:
        value = getattr(task, name)
        if isinstance(value, MappedArgument):  # of a mapped task group
            value = value.resolve(context)
        elif not getattr(mapped, "is_mapped", False) or not _is_given_by(mapped, name):
            continue
        if value is not None and value != {}:
            found[name] = Data(plain_data(value))
            setattr(task, name, found[name].value)
    if found:
        task.template_fields = tuple(name for name in type(task).template_fields if name not in found)
    return found


def _is_given_by(mapped: Any, name: str) -> bool:
    names = {"url": ("url", "endpoint"), "body": ("body", "data")}.get(name, (name,))
    mapping = getattr(mapped.expand_input, "value", None)
    if isinstance(mapping, Mapping):
        return any(alias in mapping for alias in names)
    # expand_kwargs() names its arguments only when it runs: whatever partial() does not give may be one.
    return not any(alias in mapped.partial_kwargs for alias in names)


@contextmanager
def guard_map_index(task: Any, context: Any) -> Iterator[None]:
    """Prevent ``map_index_template`` from failing a task whose request was sent.

    Airflow renders the template after the task succeeded, and fails the task if it cannot. A label that cannot be
    rendered is omitted; one that is too long for Airflow's database is truncated.

    Args:
        task: the operator.
        context: Airflow's, of the running task; Airflow reads the template from it.
    """
    try:
        yield
    finally:
        template = context.get("map_index_template")
        if template is not None:
            try:
                label = cast("str", task.dag.get_template_env().from_string(template).render(context))
            except Exception as error:  # an author's template may call anything
                task.log.warning(
                    "map_index_template cannot be rendered, so the task is shown with its map index: %s", error
                )
                context["map_index_template"] = None
            else:
                if len(label) > _LONGEST_LABEL:
                    context[_LABEL] = label[:_LONGEST_LABEL]
                    context["map_index_template"] = f"{{{{ {_LABEL} }}}}"
