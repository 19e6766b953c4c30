"""The meaning of a flow: steps, their exits, and their parsed templates.

Created by :mod:`~airflow_whatsapp_flows.flow.loading.load` from a flow file without faults, so nothing here is checked
again.
"""

from airflow_whatsapp_flows.flow.model.action import Action
from airflow_whatsapp_flows.flow.model.flow import TOO_MANY_VISITS, Flow, Step, exits_of
from airflow_whatsapp_flows.flow.model.messages import (
    Answered,
    Menu,
    Message,
    MessageContent,
    Question,
    TemplateMessage,
)
from airflow_whatsapp_flows.flow.model.routing import Conditional, Delay, End, TriggerFlow
from airflow_whatsapp_flows.flow.model.step import Text

__all__ = [
    "TOO_MANY_VISITS",
    "Action",
    "Answered",
    "Conditional",
    "Delay",
    "End",
    "Flow",
    "Menu",
    "Message",
    "MessageContent",
    "Question",
    "Step",
    "TemplateMessage",
    "Text",
    "TriggerFlow",
    "exits_of",
]
