"""Writes the results of a replay to the user's own database or files."""

from airflow_whatsapp_flows.replay.export.rows import Written, WrittenBy
from airflow_whatsapp_flows.replay.export.targets import FileTarget, TableTarget, Target, file_at_url, table_at_url

__all__ = ["FileTarget", "TableTarget", "Target", "Written", "WrittenBy", "file_at_url", "table_at_url"]
