"""Run the application with uvicorn, and end streams properly at shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import socket
import sys
from collections.abc import Generator
from types import FrameType
from typing import Any

import uvicorn

from lacy._signals import handle_signals
from lacy.errors import LacyError
from lacy.serve.connections import BoundedProtocol
from lacy.serve.limits import Limits
from lacy.serve.scheduler import TextWork

BACKLOG = 2048
"""Number of connections that the operating system queues until they are accepted."""

BURSTS = 8
"""asyncio accepts connections in bursts, and may accept another burst before it has closed the
connections that should make room. So a burst has only this fraction of the maximum number."""

STOPPING = ("SIGINT", "SIGTERM")
"""The signals that stop the server."""


def open_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        LacyError: E12, this computer does not have the address, or the port is taken or forbidden.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host, None)  # distinguishes unknown names from other errors
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        if isinstance(error, socket.gaierror) or error.args[0] == errno.EADDRNOTAVAIL:
            raise LacyError(
                "E12", key="host", value=host, why=f"no address of this computer: {error.args[1]}",
                do="give another: --host 127.0.0.1",
            ) from error  # fmt: skip
        raise LacyError(
            "E12", key="port", value=port, why=f"{host} port {port}: {error}",
            do="give another: --port 8001",
        ) from error  # fmt: skip


class Server(uvicorn.Server):
    """Runs an application; on SIGTERM or Ctrl-C, refuses new requests and lets texts finish.

    A second signal ends the process at once.

    Args:
        app: the application, from ``make_app``.
        scheduler: the scheduler of the application.
        host: address to listen on; loopback by default.
        port: port to listen on; 0 for any free one.
        grace: seconds that running texts may take to finish. After that they are cut off, and each
            client gets a regular last chunk.
    """

    def __init__(
        self,
        app: Any,
        scheduler: TextWork,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        grace: float = 10.0,
    ) -> None:
        limits: Limits = app.state.service.limits
        protocol: Any = functools.partial(BoundedProtocol, limits)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=protocol,
            proxy_headers=False,  # nothing here depends on X-Forwarded-For
            backlog=max(1, limits.connections // BURSTS),
            timeout_keep_alive=limits.idle_seconds,
            log_level="warning",
            access_log=False,
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=int(grace) + 10,
        )
        super().__init__(config)
        self._scheduler, self._grace = scheduler, grace
        self._signalled = False

    @property
    def port(self) -> int:
        """The port on which the server listens, once it has started."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Return a context in which SIGTERM and Ctrl-C shut the server down.

        Raises:
            KeyboardInterrupt: a signal arrived, and the server has shut down.
        """
        with handle_signals(STOPPING, self.handle_exit):
            yield
        if self.should_exit and self._signalled:
            raise KeyboardInterrupt

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to shut down; on a second signal, exit at once with code 130."""
        if self._signalled:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write("Ended at once.\n")
                sys.stderr.flush()
            os._exit(130)
        self._signalled = self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen with a long queue; asyncio would use the size of its bursts for the queue too."""
        await super().startup(sockets)
        for listening in [sock for server in self.servers for sock in server.sockets]:
            with socket.fromfd(listening.fileno(), listening.family, listening.type) as copy:
                copy.listen(BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests, wait for running texts, and end them after the grace period."""
        self._scheduler.refuse()
        ending = asyncio.get_running_loop().call_later(self._grace, self._scheduler.end)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()
