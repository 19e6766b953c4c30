"""Drawings of flows."""

from airflow_whatsapp_flows.drawing.svg import draw

__all__ = ["draw"]
