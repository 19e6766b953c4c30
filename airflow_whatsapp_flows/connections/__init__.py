"""From a connection to what a request needs of it: an origin, credentials, limits.

The one place where the fields of an Airflow connection are understood. Airflow's own ``Connection`` and the
``AIRFLOW_CONN_…`` variables that the command line reads both end here.
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
