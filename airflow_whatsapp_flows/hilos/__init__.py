"""Hilos and ActiveCampaign: converts what their APIs return to this package's data. Sends no requests."""

from airflow_whatsapp_flows.hilos.notes import Note
from airflow_whatsapp_flows.hilos.step_records import ImportedFlow, read_step_records

__all__ = ["ImportedFlow", "Note", "read_step_records"]
