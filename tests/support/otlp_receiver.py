"""An OTLP/HTTP receiver for tests, independent of the agent and of the collector: it parses with opentelemetry-proto.

    with OtlpReceiver() as receiver:
        send_something_to(receiver.endpoint)
        span = receiver.wait_for(lambda got: got.spans)[0]

It refuses what a backend may refuse: bad ids, bodies that do not parse, unknown paths and content types.
"""

import gzip
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, TypeVar
from zlib import error as ZlibError

from support.otlp_decode import Content, decode
from support.otlp_messages import (
    ReceivedEvent,
    ReceivedExemplar,
    ReceivedLink,
    ReceivedLog,
    ReceivedMetric,
    ReceivedPoint,
    ReceivedSpan,
    Scope,
)

__all__ = [
    "Answer",
    "OtlpReceiver",
    "ReceivedEvent",
    "ReceivedExemplar",
    "ReceivedLink",
    "ReceivedLog",
    "ReceivedMetric",
    "ReceivedPoint",
    "ReceivedRequest",
    "ReceivedSpan",
    "Scope",
]

T = TypeVar("T")
Reply = tuple[int, Mapping[str, str], bytes]


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it came in. `headers` has lower-case names; `body` is as sent, compressed or not."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def payload(self) -> bytes:
        """The body, decompressed."""
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body


Answer = Reply | Callable[[ReceivedRequest], Reply | None]
"""(status, headers, body), or a function that returns one; its None closes the connection without an answer."""


class OtlpReceiver:
    """Listens on loopback between `start` and `stop`, or inside `with`; collects what it accepts.

    `answers` scripts the replies: each request pops the first one; when none is left the reply is 200. What is
    answered with 2xx counts as accepted and appears in `spans`, `metrics`, `logs`; `requests` has every request.
    After `stop`, `start` listens on the same port again, as a backend that comes back.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.answers: deque[Answer] = deque()
        self._spans: list[ReceivedSpan] = []
        self._metrics: list[ReceivedMetric] = []
        self._logs: list[ReceivedLog] = []
        self._requests: list[ReceivedRequest] = []
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "OtlpReceiver":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; the port is free to connect to when this returns."""
        self._stopping.clear()
        self._server = _Server(self, self.port)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="otlp-receiver"
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every open connection; a request under way gets no answer."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self._server = self._thread = None
        self._stopping.set()
        server.shutdown()
        thread.join()
        server.close_connections()
        server.server_close()

    @property
    def endpoint(self) -> str:
        """Base URL, for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[ReceivedSpan]:
        """Accepted spans so far, in order of arrival (a copy)."""
        with self._changed:
            return list(self._spans)

    @property
    def metrics(self) -> list[ReceivedMetric]:
        """Accepted metrics so far, one entry per metric and request (a copy)."""
        with self._changed:
            return list(self._metrics)

    @property
    def logs(self) -> list[ReceivedLog]:
        """Accepted log records so far, in order of arrival (a copy)."""
        with self._changed:
            return list(self._logs)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request so far, refused ones included (a copy)."""
        with self._changed:
            return list(self._requests)

    def clear(self) -> None:
        """Forget what arrived; scripted answers stay."""
        with self._changed:
            for received in (self._spans, self._metrics, self._logs, self._requests):
                received.clear()

    def wait_for(self, predicate: Callable[["OtlpReceiver"], T], timeout: float = 10) -> T:
        """Return the first true value of `predicate(self)`, tried now and after each request.

        Raises AssertionError with what did arrive when `timeout` seconds pass.
        """
        with self._changed:
            found = self._changed.wait_for(lambda: predicate(self), timeout)
            if not found:
                raise AssertionError(f"not within {timeout} s; arrived: {self._summary()}")
            return found

    def hang(self, request: ReceivedRequest) -> Reply | None:
        """For `answers`: keep the client waiting until `stop`, then close without an answer."""
        self._stopping.wait()
        return None

    def _summary(self) -> str:
        names = {
            "requests": [request.path for request in self._requests],
            "spans": [span.name for span in self._spans],
            "metrics": [metric.name for metric in self._metrics],
            "logs": [log.body for log in self._logs],
        }
        return ", ".join(f"{len(items)} {kind} {items}" for kind, items in names.items())

    def _take(self, request: ReceivedRequest) -> Reply | None:
        """Decide the reply to a request and keep what it brought when that reply is a 2xx."""
        with self._changed:
            self._requests.append(request)
            scripted = self.answers.popleft() if self.answers else None
            self._changed.notify_all()
        reply = scripted(request) if callable(scripted) else scripted
        content: Content = []
        # A refused request need not parse; a taken one must.
        if scripted is None or (reply is not None and 200 <= reply[0] < 300):
            content, default = _read(request)
            reply = default if scripted is None or default[0] != 200 else reply
        with self._changed:
            self._keep(content)
            self._changed.notify_all()
        return reply

    def _keep(self, content: Content) -> None:
        for item in content:
            if isinstance(item, ReceivedSpan):
                self._spans.append(item)
            elif isinstance(item, ReceivedMetric):
                self._metrics.append(item)
            else:
                self._logs.append(item)


def _read(request: ReceivedRequest) -> tuple[Content, Reply]:
    """What a request brings, and the reply to it where none is scripted."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind not in ("application/x-protobuf", "application/json"):
        return [], _refusal(415, f"content type {kind!r} is not OTLP")
    if request.headers.get("content-encoding", "identity") not in ("gzip", "identity"):
        return [], _refusal(415, "content encoding is neither gzip nor identity")
    try:
        content = decode(request.path, request.payload, is_json=kind == "application/json")
    except (ValueError, OSError, EOFError, ZlibError) as error:
        return [], _refusal(400, str(error))
    if content is None:
        return [], _refusal(404, f"{request.path} is not an OTLP path")
    return content, (200, {"Content-Type": kind}, b"{}" if kind == "application/json" else b"")


def _refusal(status: int, message: str) -> Reply:
    return status, {"Content-Type": "text/plain"}, message.encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for the handlers

    def __init__(self, receiver: OtlpReceiver, port: int) -> None:
        self.receiver = receiver
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Wake the handlers of kept-alive connections, which else wait for a next request."""
        with self._guard:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the client was first


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        if "content-length" not in self.headers:
            self._reply(_refusal(411, "chunked bodies are not taken"))
            self.close_connection = True
            return
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionResetError("the body was cut")
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.receiver._take(ReceivedRequest(self.path, headers, body))
        if reply is None:
            self.close_connection = True
        else:
            self._reply(reply)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            pass  # the client went away, or stop() closed the connection

    def _reply(self, reply: Reply) -> None:
        status, headers, body = reply
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test reads `requests`."""
