"""The one lifecycle of an outgoing HTTP request: a CLIENT span and `http.client.request.duration`.

An adapter declares an `HTTPClient`: what to patch, and pure functions that read a call of it. Here is decided how the
library is called (sync or async, by looking at the function), when a call ends, and what is recorded
(https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client). The span covers what the patched function
does: a response that is streamed ends it when its headers are there.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode

from .. import patch, semconv
from ..guard import guarded
from ..telemetry import Telemetry
from . import urls

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]

# What other instrumentors set to say "not here": the API's own keys are private, the third is what older ones use.
_PLAIN = "suppress_instrumentation"
_SUPPRESS_HTTP = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", _PLAIN)
_SUPPRESSING = (_SUPPRESS_HTTP, getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", _PLAIN), _PLAIN)

# `warnings.warn(stacklevel=...)` does not count frames of files with these two words in their name.
_UNCOUNTED_FILE = "<otel_instrumentors, importlib _bootstrap>"


class Request(NamedTuple):
    """A call, read. `url` is absolute; `headers` is the mutable mapping that travels, None if there is none.

    `args` and `kwargs` are what the library is called with: those of the app, with `headers` among them.
    """

    method: str
    url: str
    headers: Any
    args: Arguments
    kwargs: Keywords


class Response(NamedTuple):
    """A result, read. `version` is the HTTP version ("1.1", "2"); `resends` counts redirects and retries before it."""

    status: int | None
    version: str | None = None
    resends: int = 0


def _no_response(error: BaseException) -> Response | None:
    return None


class HTTPClient(NamedTuple):
    """How one library sends requests. The readers are pure: they change nothing that belongs to the app.

    library: its catalog name; also the end of the instrumentation scope.
    method: the function to patch, such as "Session.send", in the module handed to `instrument`.
    read_request: (instance, args, kwargs) -> Request; None when this is no request.
    read_response: result -> Response.
    read_failure: exception -> the Response that it came with, if any.
    layered: what it calls may be instrumented too, and is the same request: only this layer records.
    warns: its warnings point at the caller by counting frames, so ours must not count.
    """

    library: str
    method: str
    read_request: Callable[[Any, Arguments, Keywords], Request | None]
    read_response: Callable[[Any], Response]
    read_failure: Callable[[BaseException], Response | None] = _no_response
    layered: bool = False
    warns: bool = False


def instrument(client: HTTPClient, module: ModuleType, *also_excluded_by: str) -> None:
    """Patch `module` as declared; a second time changes nothing. Excluded URLs are read from the environment now.

    `also_excluded_by`: other libraries whose OTEL_PYTHON_<LIB>_EXCLUDED_URLS holds for this one.
    """
    lifecycle = Lifecycle(client, urls.exclusions(client.library, *also_excluded_by))
    patch.replace(client.library, module, client.method, lifecycle.around)


class Call:
    """One request under way. `measured`: the attributes of its measurement; `wall` and `started`: ns, two clocks."""

    __slots__ = ("args", "context", "kwargs", "measured", "outside", "span", "started", "token", "wall")

    args: Arguments
    kwargs: Keywords
    measured: dict[str, Any]
    span: Span
    context: Context
    outside: Context
    token: Any
    wall: int
    started: int


class Lifecycle:
    """The wrapper's steps for one library: `begin` before the call, `finish` or `fail` after it."""

    def __init__(self, client: HTTPClient, excluded: re.Pattern[str] | None) -> None:
        site = f"web.{client.library}"
        self._client = client
        self._excluded = excluded
        self._telemetry = Telemetry(site)
        self.begin = guarded(f"{site}.request")(self._begin)
        self._read_response = guarded(f"{site}.response")(client.read_response)
        self._read_failure = guarded(f"{site}.failure")(client.read_failure)
        self._record = guarded(f"{site}.record")(self._record_and_end)

    def around(self, original: Any) -> Any:
        """`original` with this lifecycle around it: the same function to every caller."""
        begin, finish, fail = self.begin, self.finish, self.fail

        @functools.wraps(original)
        def send(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
            call = begin(instance, args, kwargs)
            if call is None:
                return original(instance, *args, **kwargs)
            try:
                result = original(instance, *call.args, **call.kwargs)
            except BaseException as error:
                fail(call, error)
                raise
            finish(call, result)
            return result

        @functools.wraps(original)
        async def send_async(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
            call = begin(instance, args, kwargs)
            if call is None:
                return await original(instance, *args, **kwargs)
            try:
                result = await original(instance, *call.args, **call.kwargs)
            except BaseException as error:
                fail(call, error)
                raise
            finish(call, result)
            return result

        made: Any = send_async if inspect.iscoroutinefunction(original) else send
        if self._client.warns:
            made.__code__ = made.__code__.replace(co_filename=_UNCOUNTED_FILE)
        return made

    def _begin(self, instance: Any, args: Arguments, kwargs: Keywords) -> Call | None:
        outside = context.get_current()
        if outside and any(map(outside.get, _SUPPRESSING)):
            return None
        request = self._client.read_request(instance, args, kwargs)
        if request is None or (self._excluded is not None and self._excluded.search(request.url)):
            return None
        call = Call()
        call.wall, call.started = time.time_ns(), time.perf_counter_ns()
        name, call.measured, attributes = _attributes(request)
        call.span = self._telemetry.tracer.start_span(name, outside, SpanKind.CLIENT, attributes, start_time=call.wall)
        inside = trace.set_span_in_context(call.span, outside)
        if request.headers is not None:
            propagate.inject(request.headers, inside)
        if self._client.layered:
            inside = context.set_value(_SUPPRESS_HTTP, True, inside)
        call.args, call.kwargs = request.args, request.kwargs
        call.outside, call.context = outside, inside
        call.token = context.attach(inside)  # last: whatever fails above leaves the app's context alone
        return call

    def finish(self, call: Call, result: Any) -> None:
        """The call returned `result`."""
        elapsed = time.perf_counter_ns() - call.started
        context.detach(call.token)
        self._record(call, elapsed, self._read_response(result), None)

    def fail(self, call: Call, error: BaseException) -> None:
        """The call raised `error`."""
        elapsed = time.perf_counter_ns() - call.started
        if not isinstance(error, GeneratorExit):
            context.detach(call.token)
        elif context.get_current() is call.context:
            # An abandoned coroutine is closed by whoever drops it, often in another context, where our token is not
            # valid and the API would log that at level ERROR.
            context.attach(call.outside)
        self._record(call, elapsed, self._read_failure(error), error)

    def _record_and_end(self, call: Call, elapsed: int, response: Response | None, error: BaseException | None) -> None:
        outcome = _outcome(response, error)
        call.measured.update(outcome)
        span = call.span
        try:
            # The metric first: the end of a local root sends everything that waits.
            histogram = self._telemetry.histogram(semconv.HTTP_CLIENT_REQUEST_DURATION)
            histogram.record(elapsed / 1e9, call.measured, call.context)
            if span.is_recording():
                for name, value in outcome.items():
                    span.set_attribute(name, value)
                if response is not None and response.resends:
                    span.set_attribute(semconv.HTTP_REQUEST_RESEND_COUNT, response.resends)
                _set_status(span, outcome, error)
        finally:
            span.end(call.wall + elapsed)


def _attributes(request: Request) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Of a request that begins: the span's name, the measurement's attributes, and the span's, which samplers see."""
    full, address, port = urls.target(request.url)
    method, original = _method(request.method)
    measured: dict[str, Any] = {semconv.HTTP_REQUEST_METHOD: method, semconv.SERVER_ADDRESS: address}
    if port is not None:
        measured[semconv.SERVER_PORT] = port
    attributes = {**measured, semconv.URL_FULL: full}
    if original is not None:
        attributes[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = original
    return ("HTTP" if method == semconv.OTHER_METHOD else method), measured, attributes


def _outcome(response: Response | None, error: BaseException | None) -> dict[str, Any]:
    """The attributes that span and metric learn from the end of a request."""
    outcome: dict[str, Any] = {}
    status = None
    if response is not None:
        status = response.status
        if status is not None:
            outcome[semconv.HTTP_RESPONSE_STATUS_CODE] = status
        if response.version is not None:
            outcome[semconv.NETWORK_PROTOCOL_VERSION] = response.version
    if error is not None:
        kind = type(error)
        builtin = kind.__module__ == "builtins"
        outcome[semconv.ERROR_TYPE] = kind.__qualname__ if builtin else f"{kind.__module__}.{kind.__qualname__}"
    elif status is not None and status >= 400:
        outcome[semconv.ERROR_TYPE] = str(status)
    return outcome


def _set_status(span: Span, outcome: dict[str, Any], error: BaseException | None) -> None:
    if isinstance(error, Exception):
        span.record_exception(error)
        span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
    elif semconv.ERROR_TYPE in outcome:
        span.set_status(StatusCode.ERROR)  # a status of 400 and above, or cancelled: no error of the app to report


def _method(method: str) -> tuple[str, str | None]:
    """(http.request.method, http.request.method_original if it differs)."""
    if method in semconv.HTTP_METHODS:
        return method, None
    upper = method.upper()
    if upper in semconv.HTTP_METHODS or os.environ.get("OTEL_PYTHON_INSTRUMENTATION_HTTP_CAPTURE_ALL_METHODS"):
        return upper, method if upper != method else None
    return semconv.OTHER_METHOD, method
