"""Turn a connection into what a request needs: an origin, credentials, limits.

The only code that interprets the fields of an Airflow connection, whether they come from Airflow's own ``Connection``
or from the ``AIRFLOW_CONN_…`` variables that the command line reads.
"""

from airflow_whatsapp_flows.connections.action import ActionConnection, action_connection
from airflow_whatsapp_flows.connections.environment import connection_from_environment
from airflow_whatsapp_flows.connections.fields import CONNECTION_TYPE, ConnectionFields

__all__ = [
    "CONNECTION_TYPE",
    "ActionConnection",
    "ConnectionFields",
    "action_connection",
    "connection_from_environment",
]
