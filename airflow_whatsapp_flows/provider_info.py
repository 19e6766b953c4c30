"""What Airflow's provider discovery reads: strings only, since Airflow imports this at every start."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's description, as ``apache_airflow_provider`` entry points give it."""
    return {
        "package-name": "airflow-whatsapp-flows",
        "name": "WhatsApp flows",
        "description": "The Action step of WhatsApp messaging flows: operators and a DAG factory.",
        "integrations": [
            {
                "integration-name": "WhatsApp flows",
                "external-doc-url": "https://help.activecampaign.com/hc/en-us",
                "tags": ["service"],
            }
        ],
        "operators": [
            {
                "integration-name": "WhatsApp flows",
                "python-modules": [
                    "airflow_whatsapp_flows.operators.action",
                    "airflow_whatsapp_flows.operators.branch",
                    "airflow_whatsapp_flows.operators.replay",
                ],
            }
        ],
        "hooks": [
            {"integration-name": "WhatsApp flows", "python-modules": ["airflow_whatsapp_flows.hooks.action"]},
        ],
        "connection-types": [_action_connection()],
        "extra-links": [
            "airflow_whatsapp_flows.operators.links.RecordLink",
            "airflow_whatsapp_flows.operators.links.ReplayLink",
        ],
        "db-managers": ["airflow_whatsapp_flows.hooks.ledger_manager.LedgerDBManager"],
        "cli": ["airflow_whatsapp_flows.airflow_command.get_cli_commands"],
        "config": {"whatsapp_flows": _config()},
    }


def _action_connection() -> dict[str, Any]:
    text = ["string", "null"]
    return {
        "connection-type": "whatsapp_action",
        "hook-class-name": "airflow_whatsapp_flows.hooks.action.WhatsAppActionHook",
        "hook-name": "WhatsApp Action",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"],
            "relabeling": {"host": "Base URL", "login": "User name", "password": "Password, token or key"},
            "placeholders": {"host": "https://crm.example.com/api"},
        },
        "conn-fields": {
            "auth": {
                "label": "Authentication",
                "schema": {
                    "type": text,
                    "enum": ["none", "basic", "bearer", "header", None],
                    "values_display": {
                        "none": "none",
                        "basic": "basic: user name and password",
                        "bearer": "bearer: the password is a token",
                        "header": "header: the password is sent in a separate header",
                        "null": "determined by the fields: basic with a user name, bearer with only a password",
                    },
                },
            },
            "header_name": {
                "label": "Header name",
                "schema": {"type": text},
                "description": "for 'header': the header that carries the secret, such as X-Api-Key",
            },
            "headers": {
                "label": "Other headers",
                "schema": {"type": ["object", "string", "null"]},
                "description": "a JSON object; sent only to the origin of the base URL",
            },
            "timeout": {"label": "Timeout, seconds", "schema": {"type": ["number", "null"], "minimum": 1}},
            "verify": {
                "label": "Check TLS certificates",
                "schema": {"type": ["boolean", "null"], "default": True},
                "description": "in the JSON extra, it can also be the path of a CA bundle",
            },
            "cert": {
                "label": "Client certificate",
                "schema": {"type": text},
                "description": "path of a PEM file with the client certificate and its key",
            },
            "proxy": {"label": "Proxy URL", "schema": {"type": text}},
        },
    }


def _config() -> dict[str, Any]:
    return {
        "description": "Limits on what flows may send, and where it is recorded; a flow cannot change them.",
        "options": {
            "allowed_hosts": _option(
                "Hosts, host:port and CIDR ranges, separated by commas, that may be reached even though they are "
                "private. Loopback, link-local and metadata addresses must be named exactly.",
                "string",
                "",
                "crm.internal,10.20.0.0/16,127.0.0.1:8000",
            ),
            "media_hosts": _option(
                "The same, for files that a contact's answer refers to: they are fetched only from public addresses "
                "and from these. allowed_hosts and connections do not apply to them.",
                "string",
                "",
                "media.internal",
            ),
            "response_max_bytes": _option("Maximum bytes of a reply, after decompression.", "integer", "1048576", None),
            "request_timeout": _option("Maximum seconds of one exchange.", "float", "3600", None),
            "files_folder": _option(
                "Folder from which local files may be sent in multipart bodies; if empty, no local files can be sent.",
                "string",
                "",
                "/srv/documents",
            ),
            "ledger": _option(
                "SQLAlchemy URL of the ledger, which records every request and its outcome; if empty, the file "
                "whatsapp_flows.db in Airflow's home. If tasks run on several machines, it must be PostgreSQL.",
                "string",
                "",
                "postgresql://airflow@database/whatsapp_flows",
                sensitive=True,
            ),
            "xcom_max_bytes": _option(
                "Maximum bytes of a result in XCom; a larger reply stays in the ledger, where later steps read it.",
                "integer",
                "65536",
                None,
            ),
            "ledger_reconnect_timeout": _option(
                "Seconds to wait for a PostgreSQL ledger that becomes unavailable during a replay. Meanwhile nothing "
                "new is sent, and outcomes wait in memory; then the replay continues, or it stops.",
                "float",
                "60",
                None,
            ),
            "replay_workers": _option(
                "Worker processes of `whatsapp-flows replay run` and `replay retry`, which divide the concurrency "
                "among them; auto: one for each processor, but only one for fewer than 2,000 contacts. Tasks always "
                "use one process.",
                "string",
                "auto",
                "4",
            ),
        },
    }


def _option(
    description: str, kind: str, default: str, example: str | None, *, sensitive: bool = False
) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
        "sensitive": sensitive,
    }
