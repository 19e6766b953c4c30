"""Limits of one send."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SendPolicy:
    """Limits of one send.

    Attributes:
        deadline: seconds from the call to the last byte of the reply, for everything: DNS, connecting, TLS, the
            request, the reply and its decompression. Default 30.
        connect_timeout: seconds for DNS, connecting and TLS together. Default 10.
        max_content: bytes of the reply's content, decompressed. Default 1 MiB.
        verify: whether TLS certificates are checked, against the system's authorities; or the path of a file with the
            accepted authorities in PEM form. Default true.
        certificate: paths of the client certificate and of its key (``None`` if the certificate file also contains the
            key). Default none.

    Raises:
        ValueError: a limit is not above zero.
    """

    deadline: float = 30.0
    connect_timeout: float = 10.0
    max_content: int = 1 << 20
    verify: bool | str = True
    certificate: tuple[str, str | None] | None = None

    def __post_init__(self) -> None:
        if not (self.deadline > 0 and self.connect_timeout > 0 and self.max_content > 0):
            raise ValueError("deadline, connect_timeout and max_content must be greater than zero")


DEFAULT_POLICY = SendPolicy()
