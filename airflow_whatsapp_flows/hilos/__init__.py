"""Hilos and ActiveCampaign: from what their APIs answer to plain data of this package, and nothing is sent here."""

from airflow_whatsapp_flows.hilos.notes import Note
from airflow_whatsapp_flows.hilos.step_records import ImportedFlow, read_step_records

__all__ = ["ImportedFlow", "Note", "read_step_records"]
