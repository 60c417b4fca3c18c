"""A plain HTTP/1.1 server on loopback for tests of HTTP clients: it answers as its path says and keeps the requests.

`/status/404` that status; `/redirect/2` to `/redirect/1`, ... to `/ok`; `/stream` three chunks; `/slow` nothing until
the server closes; `/flaky` 503 once, then 200. Everything else is 200 with the body `ok`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Received(NamedTuple):
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


class Server(ThreadingHTTPServer):
    """The server; `url` has no slash at its end."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = int(self.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.received: list[Received] = []
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = [request.path for request in self.server.received]
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append(Received(self.command, self.path, headers))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0] == "slow":
            self.server.closing.wait(10)
            self.close_connection = True
        elif parts[0] == "stream":
            self._stream()
        elif parts[0] == "redirect":
            left = int(parts[1])
            self._send(302, b"", f"/redirect/{left - 1}" if left > 1 else "/ok")
        elif parts[0] == "status":
            self._send(int(parts[1]), b"as you wish")
        else:
            self._send(503 if parts[0] == "flaky" and self.path not in seen else 200, b"ok")

    def _send(self, status: int, body: bytes, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in (b"one", b"two", b"three"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):  # any method at all
            return self._answer
        raise AttributeError(name)

    def log_message(self, *args: object) -> None:
        """Silence."""


@contextmanager
def serving() -> Iterator[Server]:
    """A running server."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def refusing_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        return int(unbound.getsockname()[1])
