"""Database URLs, without passwords, for display."""

from __future__ import annotations

from urllib.parse import quote

from sqlalchemy.engine import URL

from airflow_whatsapp_flows.flow.secrets import HIDDEN, names_secret


def hide_password(url: URL) -> str:
    """Remove the password from a database's URL, whether it is before the host or a parameter."""
    hidden = {name: HIDDEN for name in url.query if names_secret(name)}
    text = url.update_query_dict(hidden).render_as_string(hide_password=True)
    return text.replace(quote(HIDDEN), HIDDEN)
