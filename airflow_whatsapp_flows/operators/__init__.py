"""Operators: the Action step, its branch, and the other steps of a flow, as Airflow tasks."""
