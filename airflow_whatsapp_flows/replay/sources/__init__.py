"""Sources of contact responses: files, standard input, object storage and databases, read row by row."""

from airflow_whatsapp_flows.replay.sources.open import absolute_location, display_location, open_source
from airflow_whatsapp_flows.replay.sources.source import Row, Source, SourceSpec

__all__ = ["Row", "Source", "SourceSpec", "absolute_location", "display_location", "open_source"]
