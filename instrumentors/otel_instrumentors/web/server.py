"""The one lifecycle of an incoming HTTP request: a SERVER span and the metrics of the stable HTTP conventions.

A protocol (`wsgi`, `asgi`) reads the request, calls `start`, reports what it sees on the `Request`, and finishes it; a
framework adapter only adds the route and an unhandled exception. Every entry point is guarded: no fault leaves here.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from .. import semconv
from ..guard import guarded
from ..telemetry import Telemetry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "otel_instrumentors.request"  # in a WSGI environ or an ASGI scope: its Request, None when it is excluded
MAX_POINTS = 4096  # remembered attribute sets; an app with more routes than this gets uncached ones

telemetry = Telemetry("web.server")
_REQUEST = context.create_key(KEY)
_PLAIN = "suppress_instrumentation"  # what older instrumentors set; the API's own keys are private
_SUPPRESSED = (
    _PLAIN,
    getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", _PLAIN),
    getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", _PLAIN),
)
_points: dict[tuple[Any, ...], dict[str, Any]] = {}
_active: dict[tuple[str, str], dict[str, Any]] = {}


class Request:
    """One observed request. `status` and the two body sizes (bytes, None = unknown) are set by the protocol.

    `route` is the template the framework matched, with the templates of the mounts above it (`prefix`) in front.
    `complete`: the framework knows that its response body is all there, no code of the application makes it.
    """

    __slots__ = (
        "_error",
        "_exception",
        "_started",
        "_stopped",
        "complete",
        "context",
        "finished",
        "measured",
        "method",
        "path",
        "prefix",
        "request_size",
        "response_size",
        "route",
        "scheme",
        "span",
        "status",
    )

    def __init__(self, method: str, scheme: str, path: str, measured: bool) -> None:
        self.method = method
        self.scheme = scheme
        self.path = path
        self.measured = measured
        self.prefix = ""
        self.route: str | None = None
        self.status: int | None = None
        self.request_size: int | None = None
        self.response_size: int | None = None
        self.complete = False
        self.finished = False
        self._error: str | None = None
        self._exception: BaseException | None = None
        self._started = time.perf_counter()
        self._stopped: tuple[float, int] | None = None
        self.span: Span = trace.INVALID_SPAN
        self.context: Context | None = None

    def matched(self, template: str) -> None:
        """The framework matched the route `template`, relative to the mounts passed so far."""
        route = self.prefix + template
        if self.finished or not route or route == self.route:
            return
        self.route = route
        span = self.span
        if span.is_recording():
            # At once, not in finish(): a name that the handler gives the span itself stays.
            span.update_name(f"{_spoken(self.method)} {route}")
            span.set_attribute(semconv.HTTP_ROUTE, route)

    def mounted(self, template: str) -> None:
        """The request goes on into a sub-application mounted at the path `template`."""
        self.prefix += template

    @guarded("web.server.fail")
    def fail(self, error: BaseException) -> None:
        """An exception that the application did not handle; one object is recorded once.

        A cancelled request (the client left, the server stops) is no failure of the application.
        """
        failed = isinstance(error, (Exception, SystemExit, KeyboardInterrupt))
        if self.finished or not failed or error is self._exception:
            return
        self._exception = error
        self._error = _type_name(type(error))
        if self.status is None:
            self.status = 500  # what the server answers now
        span = self.span
        if span.is_recording():
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))

    def stop(self) -> None:
        """The last byte is out, but an exception may still come: `finish` will use this moment as the end."""
        if self._stopped is None:
            self._stopped = time.perf_counter(), time.time_ns()

    def finish(self) -> None:
        """Record the metrics, then end the span, so that all of it travels together. Only the first call counts."""
        if self.finished:
            return
        self.finished = True
        duration = (self._stopped[0] if self._stopped else time.perf_counter()) - self._started
        status = self.status
        if self._error is None and status is not None and status >= 500:
            self._error = str(status)
        if self.measured:
            self._measure(duration)
        self._end()
        self.context = self._exception = None  # both lead back here: no garbage cycle per request

    @guarded("web.server.measure")
    def _measure(self, duration: float) -> None:
        attributes = _point(self.method, self.scheme, self.route, self.status, self._error)
        record = telemetry.histogram
        record(semconv.HTTP_SERVER_REQUEST_DURATION).record(duration, attributes, self.context)
        _count_active(self, -1)
        if self.request_size is not None:
            record(semconv.HTTP_SERVER_REQUEST_BODY_SIZE).record(self.request_size, attributes, self.context)
        if self.response_size is not None:
            record(semconv.HTTP_SERVER_RESPONSE_BODY_SIZE).record(self.response_size, attributes, self.context)

    @guarded("web.server.end")
    def _end(self) -> None:
        span = self.span
        if span.is_recording():
            if self.status is not None:
                span.set_attribute(semconv.HTTP_RESPONSE_STATUS_CODE, self.status)
            if self._error is not None:
                span.set_attribute(semconv.ERROR_TYPE, self._error)
                if self._exception is None:
                    span.set_status(Status(StatusCode.ERROR))
        span.end(self._stopped[1] if self._stopped else None)


def start(attributes: dict[str, Any], parent: Context, measured: bool = True) -> Request:
    """Begin a request with the attributes of its span; `parent` is the context its headers (`Propagation`) lead to.

    `measured`: whether it counts in the HTTP server metrics (a WebSocket does not). The caller makes
    `request.context` current while the application works on the request.
    """
    method, original = _normal_method(attributes[semconv.HTTP_REQUEST_METHOD])
    if original is not None:
        attributes[semconv.HTTP_REQUEST_METHOD] = method
        attributes[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = original
    request = Request(method, attributes[semconv.URL_SCHEME], attributes[semconv.URL_PATH], measured)
    request.span = telemetry.tracer.start_span(_spoken(method), parent, SpanKind.SERVER, attributes)
    request.context = context.set_value(_REQUEST, request, trace.set_span_in_context(request.span, parent))
    if measured:
        _count_active(request, 1)
    return request


def surrounding() -> tuple[Context, Request | None]:
    """The current context and the unfinished request it belongs to, if any.

    A context of a finished request leaked into this one (a keep-alive connection whose reader was resumed, or a
    pipelined request started, inside the earlier request's task): it is no parent, so an empty one takes its place.
    """
    current = context.get_current()
    request = current.get(_REQUEST)
    if not isinstance(request, Request):
        return current, None
    if request.finished:
        return Context(), None
    return current, request


def suppressed(current: Context) -> bool:
    """Whether instrumentation, or that of HTTP, is switched off in the context `current`."""
    return bool(current) and any(current.get(key) for key in _SUPPRESSED)


class Propagation:
    """Parent contexts from incoming headers; the propagator runs only when one of its headers is there.

    `spell` turns a header name into the carrier's key for it.
    """

    def __init__(self, getter: Getter[Any], spell: Callable[[str], Any]) -> None:
        self._getter = getter
        self._spell = spell
        self._textmap: object = None
        self._fields: tuple[Any, ...] = ()

    def parent(self, carrier: Any, headers: Any, current: Context) -> Context:
        """The context `carrier` leads to, based on `current`; `headers` is the container of its keys."""
        textmap = propagate.get_global_textmap()
        if textmap is not self._textmap:
            self._fields = tuple(self._spell(field) for field in textmap.fields)
            self._textmap = textmap
        for field in self._fields:
            if field in headers:
                return textmap.extract(carrier, current, self._getter)
        return current


@functools.lru_cache(maxsize=256)
def authority(host: str, scheme: str) -> tuple[str, int | None]:
    """(server.address, server.port) of a Host header; without a port the scheme's default one."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, ""
    default = {"http": 80, "ws": 80, "https": 443, "wss": 443}.get(scheme)
    return name.strip("[]"), int(port) if port.isdecimal() and len(port) < 6 else default


def _normal_method(method: str) -> tuple[str, str | None]:
    if method in semconv.HTTP_METHODS:
        return method, None
    upper = method.upper()
    return (upper if upper in semconv.HTTP_METHODS else semconv.OTHER_METHOD), method


def _spoken(method: str) -> str:
    return "HTTP" if method == semconv.OTHER_METHOD else method


def _type_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _count_active(request: Request, change: int) -> None:
    key = request.method, request.scheme
    attributes = _active.get(key)
    if attributes is None:
        attributes = {semconv.HTTP_REQUEST_METHOD: request.method, semconv.URL_SCHEME: request.scheme}
        if len(_active) < MAX_POINTS:
            _active[key] = attributes
    counter = telemetry.up_down_counter(semconv.HTTP_SERVER_ACTIVE_REQUESTS)
    counter.add(change, attributes, request.context)


def _point(method: str, scheme: str, route: str | None, status: int | None, error: str | None) -> dict[str, Any]:
    """The attributes of the request's measurements, the same object for the same request kind."""
    key = method, scheme, route, status, error
    attributes = _points.get(key)
    if attributes is None:
        attributes = {semconv.HTTP_REQUEST_METHOD: method, semconv.URL_SCHEME: scheme}
        if route is not None:
            attributes[semconv.HTTP_ROUTE] = route
        if status is not None:
            attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = status
        if error is not None:
            attributes[semconv.ERROR_TYPE] = error
        if len(_points) < MAX_POINTS:
            _points[key] = attributes
    return attributes
