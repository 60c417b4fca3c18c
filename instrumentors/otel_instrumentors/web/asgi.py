"""Observe any ASGI 3 application: one SERVER span per HTTP request, to its last byte, or WebSocket connection."""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry import context
from opentelemetry.propagators.textmap import Getter

from .. import semconv
from ..guard import guarded
from . import server
from .server import KEY, Request
from .urls import MAX_LENGTH, exclusions, redact_query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

excluded = exclusions("FASTAPI", "STARLETTE", "ASGI")


def wrap(app: App) -> App:
    """`app`, observed; for servers. A coroutine function, by which servers tell ASGI 3."""

    async def observed(scope: Scope, receive: Receive, send: Send) -> None:
        await serve(app, scope, receive, send)

    return observed


def is_observed(scope: Scope) -> bool:
    """Whether an outer layer decided about this request already, or there is none (lifespan)."""
    if KEY in scope:
        outer = scope[KEY]
        return outer is None or not outer.finished
    return scope.get("type") not in ("http", "websocket")


async def serve(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Run `app` for one request or connection; inside a request that is observed already, only run it."""
    request = None if is_observed(scope) else _begin(scope)
    if request is None:
        await app(scope, receive, send)
        return
    exchange = (_Exchange if request.measured else _WebSocket)(request, receive, send)
    if request.request_size == 0:  # so far: it has to be counted
        receive = exchange.receive
    token = context.attach(request.context)  # type: ignore[arg-type]
    try:
        await app(scope, receive, exchange.send)
    except BaseException as error:
        if type(error).__name__ != "WebSocketDisconnect":  # Starlette's: the client hung up
            request.fail(error)
        raise
    finally:
        context.detach(token)
        request.finish()


class _Exchange:
    """The messages of one HTTP request."""

    __slots__ = ("_held", "_receive", "_request", "_send", "_trailers")

    def __init__(self, request: Request, receive: Receive, send: Send) -> None:
        self._request = request
        self._receive = receive
        self._send = send
        self._trailers = False
        self._held = False

    async def receive(self) -> MutableMapping[str, Any]:
        """ASGI's receive, for a request body whose size no header tells."""
        message = await self._receive()
        self._count(message)
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI's send; the request is over when the last byte of its response is handed over."""
        last = self._note(message)
        await self._send(message)
        if last:
            if self._held:
                self._request.stop()
            else:
                self._request.finish()

    @guarded("web.asgi.send")
    def _note(self, message: MutableMapping[str, Any]) -> bool:
        kind = message["type"]
        request = self._request
        if kind == "http.response.body":
            request.response_size = (request.response_size or 0) + len(message.get("body", b""))
            return not message.get("more_body", False) and not self._trailers
        if kind == "http.response.start":
            request.status = status = int(message["status"])
            self._trailers = message.get("trailers", False)
            # An error handler sends its response and raises on afterwards: wait for the exception.
            self._held = status >= 500 or sys.exc_info()[0] is not None
        elif kind == "http.response.trailers":
            return not message.get("more_trailers", False)
        elif kind == "http.response.pathsend":
            return not self._trailers
        return False

    @guarded("web.asgi.receive")
    def _count(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.request":
            self._request.request_size = (self._request.request_size or 0) + len(message.get("body", b""))


class _WebSocket(_Exchange):
    """The messages of one WebSocket connection: its status is that of the handshake."""

    __slots__ = ()

    @guarded("web.asgi.send")
    def _note(self, message: MutableMapping[str, Any]) -> bool:
        if self._request.status is None:
            kind = message["type"]
            if kind == "websocket.accept":
                self._request.status = 101
            elif kind == "websocket.close":
                self._request.status = 403
            elif kind == "websocket.http.response.start":
                self._request.status = int(message["status"])
        return False


class _Headers(Getter[Any]):
    def get(self, carrier: Any, key: str) -> list[str] | None:
        name = _spell(key)
        values = [value.decode("latin-1") for header, value in carrier if header == name]
        # As one list: a repeated traceparent must be invalid, a repeated tracestate or baggage goes on.
        return [",".join(values)] if values else None

    def keys(self, carrier: Any) -> list[str]:
        return [header.decode("latin-1") for header, _ in carrier]


def _spell(header: str) -> bytes:
    return header.lower().encode("latin-1")


_propagation = server.Propagation(_Headers(), _spell)


@guarded("web.asgi.begin")
def _begin(scope: Scope) -> Request | None:
    current, _ = server.surrounding()
    if server.suppressed(current):
        return None
    fields = scope["headers"]
    headers = dict(fields)
    attributes = _attributes(scope, headers)
    if excluded is not None:
        host = attributes.get(semconv.SERVER_ADDRESS, "")
        if b"host" in headers:
            host = headers[b"host"].decode("latin-1")
        if excluded.search(f"{attributes[semconv.URL_SCHEME]}://{host}{attributes[semconv.URL_PATH]}"):
            scope[KEY] = None
            return None
    parent = _propagation.parent(fields, headers, current)
    request = server.start(attributes, parent, measured=scope["type"] == "http")
    scope[KEY] = request
    length = headers.get(b"content-length")
    if length is not None and length.isdigit():
        request.request_size = int(length)
    elif request.measured and _streams_in(scope, headers):
        request.request_size = 0
    return request


def _attributes(scope: Scope, headers: dict[bytes, bytes]) -> dict[str, Any]:
    scheme = scope.get("scheme") or ("http" if scope["type"] == "http" else "ws")
    attributes = {
        semconv.HTTP_REQUEST_METHOD: scope.get("method", "GET"),  # a WebSocket handshake is a GET
        semconv.URL_SCHEME: scheme,
        semconv.URL_PATH: scope["path"] or "/",
    }
    query = scope.get("query_string")
    if query:
        attributes[semconv.URL_QUERY] = redact_query(query[:MAX_LENGTH].decode("latin-1"))
    host = headers.get(b"host")
    address, port = scope.get("server") or (None, None)
    if host:
        address, port = server.authority(host.decode("latin-1"), scheme)
    if address is not None:
        attributes[semconv.SERVER_ADDRESS] = address
        if port is not None:
            attributes[semconv.SERVER_PORT] = port
    version = scope.get("http_version")
    if version:
        attributes[semconv.NETWORK_PROTOCOL_VERSION] = version
    agent = headers.get(b"user-agent")
    if agent:
        attributes[semconv.USER_AGENT_ORIGINAL] = agent.decode("latin-1")
    return attributes


def _streams_in(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether a body may come without Content-Length: chunked, or by HTTP/2 or 3; a GET or HEAD has none."""
    if scope["method"] in ("GET", "HEAD"):
        return False
    return b"transfer-encoding" in headers or scope.get("http_version", "1.1")[:1] in "23"
