"""Drawings of flows."""

from airflow_whatsapp_flows.drawing.svg import draw, page_style

__all__ = ["draw", "page_style"]
