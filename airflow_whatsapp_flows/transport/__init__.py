"""The only access to the network: allowed hosts, limits on time and size, and outcomes.

::

    async with open_session(NetworkPolicy(trusted=("https://crm.internal",))) as session:
        reply = await send(request, SendPolicy(deadline=10), credentials, session=session)

    reply = send_blocking(request, network=network)   # one request, no event loop
"""

from airflow_whatsapp_flows.transport.credentials import Credentials
from airflow_whatsapp_flows.transport.exchange import Permit, Write, send, send_blocking
from airflow_whatsapp_flows.transport.network import NetworkPolicy
from airflow_whatsapp_flows.transport.policy import SendPolicy
from airflow_whatsapp_flows.transport.session import Session, open_session

__all__ = [
    "Credentials",
    "NetworkPolicy",
    "Permit",
    "SendPolicy",
    "Session",
    "Write",
    "open_session",
    "send",
    "send_blocking",
]
