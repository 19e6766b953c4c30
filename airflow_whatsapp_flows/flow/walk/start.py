"""What a walk begins with."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.reply.result import Outcome
from airflow_whatsapp_flows.flow.template.variables import Variables, global_variables
from airflow_whatsapp_flows.flow.walk.response import ContactResponse, with_defaults


def initial_variables(flow: Flow, response: ContactResponse, now: dt.datetime) -> Variables:
    """The values that a walk starts with; answers join them as their questions are visited.

    Raises:
        ResponseError: a required execution variable is absent, or one has the wrong type.
    """
    return Variables(
        contact=response.contact,
        global_variables={
            **global_variables(now.astimezone(ZoneInfo(flow.timezone))),
            **response.global_variables,
        },
        flow_execution_variables=with_defaults(response.flow_execution_variables, flow.variables),
    )


def check_exits(flow: Flow, response: ContactResponse) -> None:
    """Check that the exits a response tells of actions are theirs.

    Raises:
        ResponseError: one is not; names the step.
    """
    for name, taken in response.exits.items():
        if isinstance(flow.steps.get(name), Action) and taken not in [outcome.value for outcome in Outcome]:
            raise ResponseError(f"exits.{name}: the exit of an action must be 'success' or 'error', not {taken[:40]!r}")
