"""Observe any WSGI application: one SERVER span from the call to the close of the response iterable (PEP 3333)."""

from __future__ import annotations

from typing import Any

from opentelemetry import context, trace
from opentelemetry.propagators.textmap import Getter

from .. import semconv
from ..guard import guarded
from . import server
from .server import KEY, Request
from .urls import MAX_LENGTH, exclusions, redact_query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Environ = dict[str, Any]
    App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

excluded = exclusions("FLASK", "WSGI")


def wrap(app: App) -> App:
    """`app`, observed; for servers."""

    def observed(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        return serve(app, environ, start_response)

    return observed


def serve(app: App, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Call `app` for one request; inside a request that is observed already, only call it."""
    if KEY in environ:
        outer = environ[KEY]
        if outer is None or not outer.finished:
            return app(environ, start_response)
    request = _begin(environ)
    if request is None:
        return app(environ, start_response)
    exchange = _Exchange(request, start_response)
    token = context.attach(request.context)  # type: ignore[arg-type]
    try:
        body = app(environ, exchange.start_response)
    except BaseException as error:
        request.fail(error)
        request.finish()
        raise
    finally:
        context.detach(token)
    observed = _observe(body, environ, exchange)
    if observed is None:  # our fault
        request.finish()
        return body
    return observed


class _Exchange:
    """What the application does with `start_response`."""

    __slots__ = ("_start_response", "_write", "headers", "request")

    def __init__(self, request: Request, start_response: Callable[..., Any]) -> None:
        self.request = request
        self.headers: Any = ()
        self._start_response = start_response
        self._write: Callable[[bytes], Any] | None = None

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], Any]:
        """PEP 3333's start_response; a later call, after an error, replaces the status."""
        self._note(status, headers)
        start_response = self._start_response
        write: Callable[[bytes], Any] = (
            start_response(status, headers) if exc_info is None else start_response(status, headers, exc_info)
        )
        self._write = write
        return self.write

    def write(self, data: bytes) -> Any:
        """PEP 3333's write."""
        assert self._write is not None
        result = self._write(data)
        _count(self.request, (data,))
        return result

    @guarded("web.wsgi.start_response")
    def _note(self, status: str, headers: Any) -> None:
        self.headers = headers
        if status[:3].isdecimal():
            self.request.status = int(status[:3])


class _Body:
    """A response iterable; the application's code in it runs with the request's span current."""

    __slots__ = ("_body", "_next", "_request")

    def __init__(self, body: Iterable[bytes], request: Request) -> None:
        self._body = body
        self._request = request
        self._next: Callable[[], bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        self._next = self._run(iter, self._body).__next__
        return self

    def __next__(self) -> bytes:
        if self._next is None:
            iter(self)
        try:
            chunk: bytes = self._run(self._next)
        except StopIteration:
            self._request.finish()
            raise
        _count(self._request, (chunk,))
        return chunk

    def close(self) -> None:
        """PEP 3333's close: the end of the response, complete or not."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                self._run(close)
        finally:
            self._request.finish()

    def __del__(self) -> None:
        self._request.finish()  # neither exhausted nor closed: a test client whose response nobody read

    def _run(self, function: Any, *args: Any) -> Any:
        request = self._request
        if request.context is None:  # finished
            return function(*args)
        token = context.attach(request.context)
        try:
            return function(*args)
        except StopIteration:
            raise
        except BaseException as error:
            request.fail(error)
            request.finish()
            raise
        finally:
            context.detach(token)


class _SizedBody(_Body):
    """A server may take the Content-Length from an iterable of one item (wsgiref does)."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


@guarded("web.wsgi.count")
def _count(request: Request, chunks: Iterable[bytes]) -> None:
    try:
        request.response_size = sum(map(len, chunks), request.response_size or 0)
    except TypeError:  # not bytes; the server will say so
        pass


@guarded("web.wsgi.body")
def _observe(body: Iterable[bytes], environ: Environ, exchange: _Exchange) -> Iterable[bytes] | None:
    """The iterable for the server: `body` itself where nothing of the application runs any more."""
    request = exchange.request
    kind = type(body)
    if kind is list or kind is tuple:
        _count(request, body)
        request.finish()
        return body
    if request.complete and (size := _declared_size(exchange)) is not None:
        request.response_size = size
        request.finish()
        return body
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type) and isinstance(body, wrapper):
        _observe_file(body, exchange)
        return body
    return _SizedBody(body, request) if hasattr(kind, "__len__") else _Body(body, request)


def _observe_file(body: Any, exchange: _Exchange) -> None:
    """A server recognises its own file wrapper by its class and sends the file itself: hook its `close` only."""
    request = exchange.request
    request.response_size = _declared_size(exchange)
    close = getattr(body, "close", None)

    def close_and_finish() -> None:
        try:
            if close is not None:
                close()
        finally:
            request.finish()

    try:
        body.close = close_and_finish
    except (AttributeError, TypeError):  # a wrapper written in C
        request.finish()


def _declared_size(exchange: _Exchange) -> int | None:
    """The bytes the body will have, by the Content-Length the server was given."""
    for name, value in exchange.headers:
        if name.lower() == "content-length" and value.isdecimal():
            bodyless = exchange.request.method == "HEAD" or exchange.request.status in (204, 304)
            return 0 if bodyless else int(value)
    return None


class _Headers(Getter[Any]):
    def get(self, carrier: Environ, key: str) -> list[str] | None:
        value = carrier.get(_spell(key))
        return None if value is None else [value]

    def keys(self, carrier: Environ) -> list[str]:
        return [key[5:].replace("_", "-").lower() for key in carrier if key.startswith("HTTP_")]


def _spell(header: str) -> str:
    return f"HTTP_{header.upper().replace('-', '_')}"


_propagation = server.Propagation(_Headers(), _spell)


@guarded("web.wsgi.begin")
def _begin(environ: Environ) -> Request | None:
    current, outer = server.surrounding()
    if server.suppressed(current):
        return None
    path = _text(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))
    if outer is not None and _is_mounted(environ, outer):
        environ[KEY] = outer
        return None
    attributes = _attributes(environ, path)
    if excluded is not None:
        host = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
        if excluded.search(f"{attributes[semconv.URL_SCHEME]}://{host}{path}"):
            environ[KEY] = None
            return None
    request = server.start(attributes, _propagation.parent(environ, environ, current))
    environ[KEY] = request
    length = environ.get("CONTENT_LENGTH")
    if length and length.isdecimal():
        request.request_size = int(length)
    return request


def _is_mounted(environ: Environ, outer: Request) -> bool:
    """Whether this is the outer request handed on by an ASGI application (Starlette's WSGIMiddleware)."""
    return (
        trace.get_current_span() is outer.span
        and environ.get("REQUEST_METHOD") == outer.method
        and outer.path.endswith(_text(environ.get("PATH_INFO", "")))
    )


def _attributes(environ: Environ, path: str) -> dict[str, Any]:
    get = environ.get
    scheme = get("wsgi.url_scheme", "http")
    attributes = {
        semconv.HTTP_REQUEST_METHOD: get("REQUEST_METHOD", ""),
        semconv.URL_SCHEME: scheme,
        semconv.URL_PATH: path or "/",
    }
    query = get("QUERY_STRING")
    if query:
        attributes[semconv.URL_QUERY] = redact_query(query[:MAX_LENGTH])
    host = get("HTTP_HOST")
    if not host:
        host = f"{get('SERVER_NAME', '')}:{get('SERVER_PORT', '')}"
    attributes[semconv.SERVER_ADDRESS], port = server.authority(host, scheme)
    if port is not None:
        attributes[semconv.SERVER_PORT] = port
    protocol = get("SERVER_PROTOCOL", "")
    if protocol.startswith("HTTP/"):
        attributes[semconv.NETWORK_PROTOCOL_VERSION] = protocol[5:]
    agent = get("HTTP_USER_AGENT")
    if agent:
        attributes[semconv.USER_AGENT_ORIGINAL] = agent
    return attributes


def _text(path: str) -> str:
    """A path of the environ, whose characters stand for bytes (PEP 3333), as text."""
    return path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")
