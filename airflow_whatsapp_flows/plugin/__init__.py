"""The pages in Airflow's UI: what was sent, what came back, what failed.

Airflow imports this module wherever it loads plugins, also in commands and tasks that show no page. So the pages
themselves are imported by the first request for one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.plugins_manager import AirflowPlugin

from airflow_whatsapp_flows.dag_names import PAGES

if TYPE_CHECKING:
    from airflow_whatsapp_flows.plugin.addresses import QuotedPaths

PREFIX = PAGES
ROUTE = "whatsapp-flows"
"""Name of the navigation page in Airflow's own URL, ``/plugin/whatsapp-flows``."""
REQUEST_ROUTE = "whatsapp-request"
"""Name of the tab of a task instance in Airflow's own URL."""
WALK_ROUTE = "whatsapp-walk"
"""Name of the tab of a DAG run in Airflow's own URL."""
FLOW_ROUTE = "whatsapp-flow"
"""Name of the tab of a DAG in Airflow's own URL."""

_Message = MutableMapping[str, Any]


class LazyApp:
    """The pages as an ASGI application, created by the first request."""

    def __init__(self) -> None:
        self._app: QuotedPaths | None = None

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        if self._app is None:
            from airflow_whatsapp_flows.plugin.addresses import QuotedPaths
            from airflow_whatsapp_flows.plugin.app import create_app

            self._app = QuotedPaths(create_app())
        await self._app(scope, receive, send)


class WhatsAppFlowsPlugin(AirflowPlugin):
    """Adds the pages to Airflow; registered by the entry point ``airflow.plugins``."""

    name = "whatsapp_flows"
    fastapi_apps = [{"app": LazyApp(), "url_prefix": PREFIX, "name": "WhatsApp flows"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "WhatsApp",  # a longer name is cut off in Airflow's navigation
            # Relative to Airflow's base URL, which may have a path.
            "href": f"{PREFIX.lstrip('/')}/",
            "destination": "nav",
            "url_route": ROUTE,
            "nav_top_level": True,
            "icon": f"{PREFIX.lstrip('/')}/static/flows.svg",
            "icon_dark_mode": f"{PREFIX.lstrip('/')}/static/flows-dark.svg",
        },
        {
            "name": "Request",
            "href": f"{PREFIX.lstrip('/')}/tasks/{{DAG_ID}}/{{RUN_ID}}/{{TASK_ID}}/{{MAP_INDEX}}",
            "destination": "task_instance",
            "url_route": REQUEST_ROUTE,
        },
        {
            "name": "Walk",
            "href": f"{PREFIX.lstrip('/')}/runs/{{DAG_ID}}/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": WALK_ROUTE,
        },
        {
            "name": "Flow",
            "href": f"{PREFIX.lstrip('/')}/flows/{{DAG_ID}}",
            "destination": "dag",
            "url_route": FLOW_ROUTE,
        },
    ]
