"""The hook of the connection type ``whatsapp_action``, and of plain ``http`` connections used by actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from airflow_whatsapp_flows.connections import (
    CONNECTION_TYPE,
    ActionConnection,
    ConnectionFields,
    action_connection,
)
from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, TransportFailure
from airflow_whatsapp_flows.flow.secrets import hide
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.settings import SECTION, Settings, settings_from

AuthType = Callable[..., Any]
"""A class such as ``requests.auth.HTTPBasicAuth``: created with login and password, called with the request."""


class WhatsAppActionHook(HttpHook):
    """Reads the connection of an action: its origin, credentials, and limits.

    Args:
        http_conn_id: id of a ``whatsapp_action`` or ``http`` connection.
        auth_type: signs the request's headers, instead of using the connection's credentials.
        **kwargs: for ``HttpHook``.
    """

    conn_name_attr = "http_conn_id"
    default_conn_name = "whatsapp_action_default"
    conn_type = CONNECTION_TYPE
    hook_name = "WhatsApp Action"

    def __init__(self, http_conn_id: str = default_conn_name, auth_type: AuthType | None = None, **kwargs: Any) -> None:
        super().__init__(http_conn_id=http_conn_id, auth_type=auth_type, **kwargs)
        self._signer = auth_type

    def action_connection(self) -> ActionConnection:
        """The connection, with its secrets registered for masking in every form in which they may be logged.

        Raises:
            ConnectionConfigError: the connection does not exist or is invalid.
        """
        return _resolve_connection(self._fields())

    def sign(self, connection: ActionConnection, request: HttpRequest) -> ActionConnection:
        """Add the headers of ``auth_type`` for a request to the connection, if it is set.

        Args:
            connection: from :meth:`action_connection`.
            request: with an absolute URL.
        """
        if self._signer is None:
            return connection
        fields = self._fields()
        signer = self._signer(fields.login, fields.password) if fields.login else self._signer()
        prepared = requests.Request(
            request.method, request.url, headers=dict(request.headers), data=request.content or None
        ).prepare()
        before = {name.lower(): value for name, value in prepared.headers.items()}
        signed = signer(prepared).headers
        added = tuple((name, value) for name, value in signed.items() if before.get(name.lower()) != value)
        for _, value in added:
            mask_secret(value)
        replaced = {name.lower() for name, _ in added} | {"authorization"}
        kept = tuple(field for field in connection.headers if field[0].lower() not in replaced)
        return replace(connection, headers=(*kept, *added))

    def test_connection(self) -> tuple[bool, str]:
        """Send a GET to the base URL; any status except 401, 403, and 407 is a success."""
        try:
            connection = self.action_connection()
            request = HttpRequest("GET", f"{connection.base_url}/")
            reply = sender_from_airflow().prepare(connection, request, 10.0).send()
        except ConnectionConfigError as error:
            return False, str(error)
        if isinstance(reply, TransportFailure):
            return False, hide(reply.message, connection.secrets)
        answered = f"{connection.base_url}/ answered {reply.status_code} {reply.reason}".strip()
        return reply.status_code not in (401, 403, 407), hide(answered, connection.secrets)

    def _fields(self) -> ConnectionFields:
        try:
            connection = self.get_connection(self.http_conn_id)
        except AirflowNotFoundException:
            raise ConnectionConfigError(
                f"the connection {self.http_conn_id!r} does not exist; add it in Airflow under Admin > Connections, "
                f"or set AIRFLOW_CONN_{self.http_conn_id.upper()}"
            ) from None
        return ConnectionFields(
            id=self.http_conn_id,
            type=connection.conn_type or "http",
            host=connection.host,
            schema=connection.schema,
            port=connection.port,
            login=connection.login,
            password=connection.password,
            extra=connection.extra_dejson,
        )


def _resolve_connection(fields: ConnectionFields) -> ActionConnection:
    connection = action_connection(fields)
    for secret in connection.secrets:
        mask_secret(secret)
    return connection


def find_connection(conn_id: str) -> ActionConnection:
    """Look up an Airflow connection for a :class:`~airflow_whatsapp_flows.sender.RequestSender`.

    Raises:
        ConnectionConfigError: the connection does not exist or is invalid.
    """
    return WhatsAppActionHook(conn_id).action_connection()


def provider_settings() -> Settings:
    """The section ``[whatsapp_flows]`` of Airflow's configuration."""
    return settings_from(lambda option: conf.get(SECTION, option, fallback=None))


def sender_from_airflow() -> RequestSender:
    """The request sender for tasks, with Airflow's connections and configuration."""
    return RequestSender(provider_settings(), find_connection)
