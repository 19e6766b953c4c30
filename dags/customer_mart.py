"""A task like one of dbt builds a table, and updates its asset: the flow ``customer_sync`` then sends its rows.

Needs the Airflow connection ``warehouse``: any SQL database with a table ``orders`` (customer, phone, name).
"""

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG, Asset

CUSTOMERS = Asset("x-warehouse://marts/customers")

with DAG("customer_mart", schedule=None, catchup=False, tags=["whatsapp"], doc_md=__doc__):
    SQLExecuteQueryOperator(
        task_id="build_customers",
        conn_id="warehouse",
        sql=[
            "DROP TABLE IF EXISTS customers",
            "CREATE TABLE customers AS "
            "SELECT customer AS id, MAX(phone) AS phone, MAX(name) AS name FROM orders GROUP BY customer",
        ],
        outlets=[CUSTOMERS],
    )
