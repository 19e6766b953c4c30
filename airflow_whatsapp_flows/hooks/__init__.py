"""Hooks: Airflow's connections and configuration, converted for this package."""
