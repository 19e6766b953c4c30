"""Authentication headers, bound to the only origin that may see them."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.request.messages import Headers
from airflow_whatsapp_flows.transport.origin import Origin, origin_of, origin_of_connection


@dataclass(frozen=True, slots=True)
class Credentials:
    """Headers of a connection, added on sending, only to requests to the connection's own origin.

    Attributes:
        origin: such as ``"https://crm.example"``; scheme, host and port count, a path does not.
        headers: such as ``(("Authorization", "Bearer …"),)``; the values appear in no repr and no message.

    Raises:
        ConnectionConfigError: ``origin`` is not an absolute http or https URL.
    """

    origin: str
    headers: Headers = field(repr=False)

    def __post_init__(self) -> None:
        origin_of_connection(self.origin)

    def __repr__(self) -> str:
        names = ", ".join(f"{name}: ***" for name, _ in self.headers)
        return f"Credentials(origin={self.origin!r}, headers=<{names}>)"

    def add_to(self, headers: Headers, target: Origin) -> Headers:
        """``headers``, and behind them those of ours that they do not already hold, if ``target`` is our origin."""
        if origin_of(self.origin) != target:
            return headers
        given = {name.lower() for name, _ in headers}
        return headers + tuple(pair for pair in self.headers if pair[0].lower() not in given)
