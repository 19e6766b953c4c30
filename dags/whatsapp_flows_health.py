"""Shows faults of the flow files as one import error of this airflow dag file.

The DAG of a flow with faults is still there, and fails when it is run. Raised in ``whatsapp_flows.py`` its error would
take the DAGs of all the other flows with it, and merely logged it would be seen by nobody.
"""

from airflow_whatsapp_flows.dag_factory import raise_faults

raise_faults("flows")
