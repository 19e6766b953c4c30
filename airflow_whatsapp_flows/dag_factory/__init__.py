"""Builds DAGs from flows.

::

    # dags/whatsapp_flows.py
    from airflow_whatsapp_flows import load_dags  # airflow dag
    globals().update(load_dags("flows"))
"""

from airflow_whatsapp_flows.dag_factory.flow_dag import build_dag
from airflow_whatsapp_flows.dag_factory.load import load_dags, raise_faults
from airflow_whatsapp_flows.dag_factory.task_ids import task_id_for, task_ids_of

__all__ = ["build_dag", "load_dags", "raise_faults", "task_id_for", "task_ids_of"]
