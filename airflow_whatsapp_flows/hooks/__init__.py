"""Hooks: Airflow's connections, understood."""
