"""Flow format 1: one class for each object in a flow file."""

from airflow_whatsapp_flows.flow.format.acting import Comparison
from airflow_whatsapp_flows.flow.format.asking import AnsweredStep, AnswerType, TemplateFormat
from airflow_whatsapp_flows.flow.format.common import StepBase, StepWithText
from airflow_whatsapp_flows.flow.format.flow import (
    FLOW_ID,
    MAX_STEPS,
    STEP_FORMATS,
    AirflowFormat,
    FlowFormat,
    StepFormat,
    VariableFormat,
)
from airflow_whatsapp_flows.flow.format.replay import ReplayFormat
from airflow_whatsapp_flows.flow.format.sending import ActionFormat, Method, RetryFormat
from airflow_whatsapp_flows.flow.format.testing import ExpectedRequestFormat, FlowTestFormat, ReplyFormat

__all__ = [
    "FLOW_ID",
    "MAX_STEPS",
    "STEP_FORMATS",
    "ActionFormat",
    "AirflowFormat",
    "AnswerType",
    "AnsweredStep",
    "Comparison",
    "ExpectedRequestFormat",
    "FlowFormat",
    "FlowTestFormat",
    "Method",
    "ReplayFormat",
    "ReplyFormat",
    "RetryFormat",
    "StepBase",
    "StepFormat",
    "StepWithText",
    "TemplateFormat",
    "VariableFormat",
]
