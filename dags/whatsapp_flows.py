"""One DAG for every flow in ``flows/``."""

from airflow_whatsapp_flows import load_dags  # airflow dag

globals().update(load_dags("flows"))
