"""uvicorn inside the hub's event loop, without its signal handlers and with the limits of RELIABILITY S14."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 64
HEADER_BYTES = 16 * 1024
HEADER_SECONDS = 10.0


class Protocol(H11Protocol):
    """A connection that has to finish each request's header within ten seconds."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """The clock starts with the connection."""
        super().connection_made(transport)
        self._await_header()

    def data_received(self, data: bytes) -> None:
        """It stops when a request is there, and starts again with the first byte of the next one."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._deadline is None:
            self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_header(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """Leaves signals alone, and wakes once a second instead of ten times."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The hub ignores its signals."""
        yield

    def install_signal_handlers(self) -> None:
        """The same, as uvicorn before 0.29 calls it."""

    async def main_loop(self) -> None:
        """Keep the Date header current until `should_exit`."""
        while not await self.on_tick(0):
            await asyncio.sleep(1)


async def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Answer on a listening socket until cancelled."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=5,
    )
    await Server(config).serve([listening])
