"""The core: what a flow means. No Airflow, no HTTP client, no database, no clock, no files."""
