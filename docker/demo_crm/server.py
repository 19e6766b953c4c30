"""Start the demo CRM: `python docker/demo_crm/server.py --port 0 --database crm.db`."""

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

# Run as a file, this has only its own folder on the path; the package is the folder itself.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo_crm.app import create_app


class Protocol(H11Protocol):
    """HTTP/1.1 that hands its transport to the application, which cannot drop a connection otherwise."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Remember the transport of this connection in the state of its requests."""
        self.app_state = {**self.app_state, "transport": transport}
        # asyncio does this only for sockets made with an explicit protocol number; without it a reply, written as
        # head and body, waits 40 ms for the client's delayed acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)


class Server(uvicorn.Server):
    """A server that says when it accepts connections and exits with 0 when told to stop."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print the address, which is how whoever asked for port 0 learns it."""
        await super().startup(sockets)
        host, port = (sockets or [])[0].getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        print(f"demo CRM listening on http://{host}:{port}", flush=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; uvicorn would raise the signal again after stopping."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop.

    Args:
        arguments: Command line; None for this process's own.
    """
    parser = argparse.ArgumentParser(description="A stand-in for someone's CRM. Keep it away from the internet.")
    parser.add_argument("--host", default=os.environ.get("DEMO_CRM_HOST", "127.0.0.1"), help="address to listen on")
    parser.add_argument("--port", type=int, default=int(os.environ.get("DEMO_CRM_PORT", "8000")), help="0: a free one")
    parser.add_argument("--database", default=os.environ.get("DEMO_CRM_DATABASE", ":memory:"), help="SQLite file")
    options = parser.parse_args(arguments)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.create_server((options.host, options.port), family=family, backlog=2048)
    config = uvicorn.Config(
        create_app(options.database),
        http=Protocol,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
