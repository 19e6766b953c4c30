"""Routes of actions: session, limits and credentials, created once for all contacts."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from airflow_whatsapp_flows.connections import ActionConnection
from airflow_whatsapp_flows.flow.body import FileContent, FileSource
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, Reply, TransportFailure
from airflow_whatsapp_flows.sender import PreparedRequest, RequestSender, file_from_reply
from airflow_whatsapp_flows.transport import Credentials, NetworkPolicy, Permit, Session, open_session, send
from airflow_whatsapp_flows.transport.origin import origin_of


@dataclass(frozen=True, slots=True)
class Route:
    """The route of an action's requests.

    Attributes:
        host: host and port.
        prepared: limits and connection, with the first request that used this route.
        session: connections to the network.
        credentials: the connection's credentials, for its own origin.
    """

    host: str
    prepared: PreparedRequest
    session: Session
    credentials: Credentials | None

    @property
    def connection(self) -> ActionConnection | None:
        """The Airflow connection that the action names."""
        return self.prepared.connection

    def complete(self, request: HttpRequest) -> HttpRequest:
        """Return the request with an absolute URL."""
        return request if self.connection is None else self.connection.absolute(request)

    async def send(self, request: HttpRequest, permit: Permit) -> Reply:
        """Send a complete request once.

        Args:
            request: from :meth:`complete`.
            permit: see :func:`~airflow_whatsapp_flows.transport.send`.
        """
        return await send(request, self.prepared.policy, self.credentials, session=self.session, permit=permit)

    def conceal(self, result: ActionResult) -> ActionResult:
        """Mask the connection's secrets in a result."""
        return self.prepared.mask_secrets(result)


class Routes:
    """Creates routes, and keeps them and their sessions open until it is closed.

    Args:
        request_sender: connections and settings.
    """

    def __init__(self, request_sender: RequestSender) -> None:
        self._request_sender = request_sender
        self._routes: dict[str, Route] = {}
        self._sessions: dict[NetworkPolicy, Session] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Routes:
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def of(self, step: Action, request: HttpRequest) -> Route:
        """Return the route of an action's requests.

        Args:
            step: the action.
            request: any of its requests: all have the same scheme, host and port.

        Raises:
            ConnectionConfigError: its connection is missing or invalid.
        """
        route = self._routes.get(step.name)
        if route is None:
            route = self._routes[step.name] = await self._make(step, request)
        return route

    async def download(self, source: FileSource, timeout: float) -> FileContent | TransportFailure:
        """Fetch a file from a server; unlike in a thread, it can be cancelled when the run stops.

        Args:
            source: a file with a web URL.
            timeout: seconds.
        """
        prepared = self._request_sender.download(source, timeout)
        session = await self._session(prepared.network)
        return file_from_reply(await send(prepared.request, prepared.policy, session=session))

    async def _make(self, step: Action, request: HttpRequest) -> Route:
        conn_id = step.plan.connection
        connection = self._request_sender.find_connection(conn_id) if conn_id else None
        prepared = self._request_sender.prepare(connection, request, step.timeout)
        session = await self._session(prepared.network)
        origin = origin_of(prepared.request.url)
        return Route(origin.authority, prepared, session, prepared.credentials)

    async def _session(self, network: NetworkPolicy) -> Session:
        session = self._sessions.get(network)
        if session is None:
            session = await self._stack.enter_async_context(open_session(network))
            self._sessions[network] = session
        return session
