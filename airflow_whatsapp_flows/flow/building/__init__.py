"""From the steps of a flow file to the steps of a flow: every template parsed, every fault found."""

from airflow_whatsapp_flows.flow.building.steps import build_steps, valid_steps

__all__ = ["build_steps", "valid_steps"]
