"""``python -m airflow_whatsapp_flows.cli``."""

import sys

from airflow_whatsapp_flows.cli import main

sys.exit(main())
