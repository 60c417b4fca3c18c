"""The lifecycle of an outgoing request: laws that hold for every HTTP client, and the comparison with upstream."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import re
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan

from otel_instrumentors import guard, patch
from otel_instrumentors.testing import Recording, instrumented, recording
from otel_instrumentors.web import client
from support import loopback


def _requests(url: str, method: str = "GET", timeout: float = 5.0) -> tuple[int, bytes]:
    requests = importlib.import_module("requests")
    with requests.Session() as session:
        response = session.request(method, url, timeout=timeout)
        return response.status_code, response.content


def _urllib3(url: str, method: str = "GET", timeout: float = 5.0) -> tuple[int, bytes]:
    with importlib.import_module("urllib3").PoolManager(retries=False) as pool:
        response = pool.request(method, url, timeout=timeout)
        return response.status, response.data


def _sync(name: str) -> Callable[..., tuple[int, bytes]]:
    def get(url: str, method: str = "GET", timeout: float = 5.0) -> tuple[int, bytes]:
        with importlib.import_module(name).Client(timeout=timeout) as session:
            response = session.request(method, url)
            return response.status_code, response.content

    return get


def _async(name: str) -> Callable[..., tuple[int, bytes]]:
    async def send(url: str, method: str, timeout: float) -> tuple[int, bytes]:
        async with importlib.import_module(name).AsyncClient(timeout=timeout) as session:
            response = await session.request(method, url)
            return response.status_code, response.content

    return lambda url, method="GET", timeout=5.0: asyncio.run(send(url, method, timeout))


def _aiohttp(url: str, method: str = "GET", timeout: float = 5.0) -> tuple[int, bytes]:
    aiohttp = importlib.import_module("aiohttp")

    async def send() -> tuple[int, bytes]:
        limit = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(timeout=limit) as session, session.request(method, url) as response:
            return response.status, await response.read()

    return asyncio.run(send())


class Library(NamedTuple):
    """A library under test: `send(url, method, timeout)` makes one request and returns (status, body)."""

    hook: str
    adapter: str
    name: str
    variable: str
    send: Callable[..., tuple[int, bytes]]
    refused: str
    upstream: str = ""


LIBRARIES = {
    "requests": Library(
        "requests.sessions",
        "requests",
        "requests",
        "REQUESTS",
        _requests,
        "requests.exceptions.ConnectionError",
        "requests:RequestsInstrumentor",
    ),
    "urllib3": Library(
        "urllib3.connectionpool",
        "urllib3",
        "urllib3",
        "URLLIB3",
        _urllib3,
        "urllib3.exceptions.NewConnectionError",
        "urllib3:URLLib3Instrumentor",
    ),
    "httpx": Library(
        "httpx", "httpx", "httpx", "HTTPX", _sync("httpx"), "httpx.ConnectError", "httpx:HTTPXClientInstrumentor"
    ),
    "httpx async": Library(
        "httpx", "httpx", "httpx", "HTTPX", _async("httpx"), "httpx.ConnectError", "httpx:HTTPXClientInstrumentor"
    ),
    "httpx2": Library("httpx2", "httpx", "httpx2", "HTTPX2", _sync("httpx2"), "httpx2.ConnectError"),
    "httpx2 async": Library("httpx2", "httpx", "httpx2", "HTTPX2", _async("httpx2"), "httpx2.ConnectError"),
    "aiohttp": Library(
        "aiohttp.client",
        "aiohttp_client",
        "aiohttp-client",
        "AIOHTTP_CLIENT",
        _aiohttp,
        "aiohttp.client_exceptions.ClientConnectorError",
        "aiohttp_client:AioHttpClientInstrumentor",
    ),
}
DURATION = "http.client.request.duration"


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "strict", True)


@pytest.fixture
def server() -> Iterator[loopback.Server]:
    with loopback.serving() as running:
        yield running


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    found = LIBRARIES[request.param]
    pytest.importorskip(found.hook.partition(".")[0])
    return found


@pytest.fixture
def recorded(library: Library) -> Iterator[Recording]:
    with recording() as result:
        importlib.import_module(f"otel_instrumentors.web.{library.adapter}").instrument(
            importlib.import_module(library.hook)
        )
        try:
            yield result
        finally:
            patch.restore(library.name)


def test_success(library: Library, recorded: Recording, server: loopback.Server) -> None:
    """A request is one CLIENT span and one measurement of the same duration; the app gets what the server sent."""
    assert library.send(f"{server.url}/ok?page=2&api_key=123") == (200, b"ok")
    (span,) = recorded.spans
    (point,) = recorded.points(DURATION)
    measured = {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    assert (span.name, span.kind, span.status.status_code) == ("GET", trace.SpanKind.CLIENT, trace.StatusCode.UNSET)
    assert dict(span.attributes or {}) == {**measured, "url.full": f"{server.url}/ok?page=2&api_key=REDACTED"}
    assert (point.attributes, point.count) == (measured, 1)
    assert span.end_time is not None
    assert span.start_time is not None
    assert point.value == pytest.approx((span.end_time - span.start_time) / 1e9, abs=1e-12)
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == f"otel_instrumentors.web.{library.name}"


def test_propagation(library: Library, recorded: Recording, server: loopback.Server) -> None:
    """The server receives the ids of the span, whose parent is the caller's span; baggage travels too."""
    tracer = recorded.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("work") as work:
        token = context.attach(baggage.set_baggage("tenant", "7"))
        before = context.get_current()
        library.send(f"{server.url}/ok")
        assert context.get_current() is before
        context.detach(token)
    sent = recorded.span("GET")
    assert sent.parent == work.get_span_context()
    headers = server.received[0].headers
    assert headers["traceparent"] == f"00-{sent.context.trace_id:032x}-{sent.context.span_id:016x}-01"
    assert headers["baggage"] == "tenant=7"


@pytest.mark.parametrize("status", [404, 500])
def test_error_status(library: Library, recorded: Recording, server: loopback.Server, status: int) -> None:
    """A status of 400 and above makes the span an error of that type, without an exception."""
    assert library.send(f"{server.url}/status/{status}") == (status, b"as you wish")
    (span,) = recorded.spans
    (point,) = recorded.points(DURATION)
    for attributes in (span.attributes or {}, point.attributes):
        assert (attributes["http.response.status_code"], attributes["error.type"]) == (status, str(status))
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, None)
    assert not span.events


def test_connection_refused(library: Library, recorded: Recording) -> None:
    """The library's exception reaches the app; span and measurement carry its type and no status code."""
    port = loopback.refusing_port()
    with pytest.raises(Exception) as raised:
        library.send(f"http://127.0.0.1:{port}/ok")
    (span,) = recorded.spans
    (point,) = recorded.points(DURATION)
    measured = {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": port,
        "error.type": library.refused,
    }
    assert dict(span.attributes or {}) == {**measured, "url.full": f"http://127.0.0.1:{port}/ok"}
    assert point.attributes == measured
    assert span.status.description == f"{type(raised.value).__name__}: {raised.value}"
    assert [event.name for event in span.events] == ["exception"]


def test_timeout(library: Library, recorded: Recording, server: loopback.Server) -> None:
    """A timeout is an error of the type that the app sees."""
    with pytest.raises(Exception) as raised:
        library.send(f"{server.url}/slow", timeout=0.2)
    kind = type(raised.value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    (span,) = recorded.spans
    assert (span.attributes or {})["error.type"] == name
    assert span.status.status_code is trace.StatusCode.ERROR


def test_unknown_method(library: Library, recorded: Recording, server: loopback.Server) -> None:
    """A method outside the standard is `_OTHER`, so that names and series stay few; the span keeps the word."""
    library.send(f"{server.url}/ok", "BREW")
    (span,) = recorded.spans
    attributes = span.attributes or {}
    assert span.name == "HTTP"
    assert attributes["http.request.method"] == "_OTHER"
    assert attributes["http.request.method_original"] == "BREW"
    assert recorded.points(DURATION)[0].attributes["http.request.method"] == "_OTHER"
    assert server.received[0].method == "BREW"


@pytest.mark.parametrize("own", [True, False])
def test_excluded(library: Library, server: loopback.Server, monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    """An excluded URL gives no span, no measurement and no header; other URLs are not touched by the list."""
    name = f"OTEL_PYTHON_{library.variable}_EXCLUDED_URLS" if own else "OTEL_PYTHON_EXCLUDED_URLS"
    monkeypatch.setenv(name, "health, /o[k]$")
    adapter = importlib.import_module(f"otel_instrumentors.web.{library.adapter}")
    with recording() as recorded:
        adapter.instrument(importlib.import_module(library.hook))
        try:
            library.send(f"{server.url}/ok")
            assert (recorded.spans, recorded.points(DURATION)) == ([], [])
            assert "traceparent" not in server.received[0].headers
            library.send(f"{server.url}/okay")
            assert len(recorded.spans) == 1
        finally:
            patch.restore(library.name)


@pytest.mark.parametrize("suppress", [suppress_instrumentation, suppress_http_instrumentation])
def test_suppressed(library: Library, recorded: Recording, server: loopback.Server, suppress: Any) -> None:
    """Inside a suppressing context a request leaves no telemetry."""
    with suppress():
        assert library.send(f"{server.url}/ok") == (200, b"ok")
    assert (recorded.spans, recorded.points(DURATION)) == ([], [])
    assert "traceparent" not in server.received[0].headers


def test_patch_is_reversible(library: Library) -> None:
    """Instrumenting twice patches once, signature and coroutine-ness stay, restoring gives the identical functions."""
    adapter = importlib.import_module(f"otel_instrumentors.web.{library.adapter}")
    module = importlib.import_module(library.hook)
    owners = [("Session", "send"), ("HTTPConnectionPool", "urlopen"), ("ClientSession", "_request")]
    owners += [("HTTPTransport", "handle_request"), ("AsyncHTTPTransport", "handle_async_request")]
    methods = [(getattr(module, owner), name) for owner, name in owners if hasattr(module, owner)]
    before = [inspect.getattr_static(owner, name) for owner, name in methods]
    adapter.instrument(module)
    once = [inspect.getattr_static(owner, name) for owner, name in methods]
    adapter.instrument(module)
    try:
        assert [inspect.getattr_static(owner, name) for owner, name in methods] == once
        assert patch.patched()[library.name] == len(methods)
        for original, wrapped in zip(before, once, strict=True):
            assert wrapped is not original
            assert inspect.signature(wrapped) == inspect.signature(original)
            assert inspect.iscoroutinefunction(wrapped) == inspect.iscoroutinefunction(original)
    finally:
        patch.restore(library.name)
    assert all(getattr(owner, name) is original for (owner, name), original in zip(methods, before, strict=True))


# The deliberate differences from upstream (stable HTTP conventions), as upstream's spans and measurements must be
# changed to become ours. Apart from these, name, kind, status, attributes and measurements are equal.
#   network.peer.*       upstream puts the host name of the URL there; it is the address of the socket, which is not
#                        cheaply known, so we leave it out
#   user_agent.original  opt-in by the conventions; requests only
#   error.type           the exception's class with its module, as the conventions ask (upstream: without)
#   server.*, network.protocol.version, error.type: required or recommended by the conventions, absent upstream from
#                        urllib3's span, aiohttp's measurements and failures of urllib3
#   measurements of failed requests: upstream makes none for httpx and urllib3
#   status description   "Type: message" everywhere (aiohttp upstream: the type alone)
#   not compared here: http.request.resend_count (ours), body size metrics of urllib3 (development status, upstream's),
#                        server.port with the scheme's default (ours), redaction of the URL (ours covers more)
LEFT_OUT = {"network.peer.address", "network.peer.port", "user_agent.original"}
ADDED = {
    "urllib3": {"server.address", "server.port", "network.protocol.version", "error.type"},
    "aiohttp_client": {"network.protocol.version"},
}


def _upstream(library: Library, url: str, monkeypatch: pytest.MonkeyPatch) -> Recording:
    semconv = importlib.import_module("opentelemetry.instrumentation._semconv")
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    stability = semconv._OpenTelemetrySemanticConventionStability
    monkeypatch.setattr(stability, "_initialized", False)
    monkeypatch.setattr(stability, "_OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING", {})
    module, _, name = library.upstream.partition(":")
    instrumentor = getattr(pytest.importorskip(f"opentelemetry.instrumentation.{module}"), name)()
    result = Recording()
    instrumentor.instrument(tracer_provider=result.tracer_provider, meter_provider=result.meter_provider)
    try:
        _quietly(library, url)
    finally:
        instrumentor.uninstrument()
    return result


def _quietly(library: Library, url: str) -> None:
    try:
        library.send(url)
    except Exception:  # noqa: BLE001  the request that fails is compared too
        pass


@pytest.mark.parametrize("path", ["/items/3", "/status/404", "/status/500", "/redirect/1", "refused"])
@pytest.mark.parametrize("name", [name for name in LIBRARIES if LIBRARIES[name].upstream])
def test_same_as_upstream(name: str, path: str, server: loopback.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our span and measurement are upstream's, apart from the differences listed above."""
    library = LIBRARIES[name]
    url = f"http://127.0.0.1:{loopback.refusing_port()}/" if path == "refused" else server.url + path
    expected = _upstream(library, url, monkeypatch)
    adapter = importlib.import_module(f"otel_instrumentors.web.{library.adapter}")
    with instrumented(adapter, importlib.import_module(library.hook)) as ours:
        _quietly(library, url)

    added = ADDED.get(library.adapter, set())
    assert len(ours.spans) == len(expected.spans)
    for our, their in zip(ours.spans, expected.spans, strict=True):
        assert (our.name, our.kind, our.status.status_code) == (their.name, their.kind, their.status.status_code)
        if library.adapter != "aiohttp_client":
            assert _text(our) == _text(their)
        assert [event.name for event in our.events] == [event.name for event in their.events]
        _compare(dict(our.attributes or {}), dict(their.attributes or {}), added)
    theirs = expected.points(DURATION)
    assert theirs or path == "refused"
    for our_point, their_point in zip(ours.points(DURATION), theirs, strict=bool(theirs)):
        assert our_point.count == their_point.count
        _compare(our_point.attributes, their_point.attributes, added)


def _text(span: ReadableSpan) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", span.status.description or "")  # urllib3 1 names the connection's address


def _compare(our: dict[str, Any], their: dict[str, Any], added: set[str]) -> None:
    error = our.get("error.type", "0")
    if not error.isdecimal():
        our["error.type"] = error.rpartition(".")[2]
    extra = {"http.request.resend_count"} | added - their.keys()
    assert {name: value for name, value in our.items() if name not in extra} == {
        name: value for name, value in their.items() if name not in LEFT_OUT
    }


# The lifecycle alone, around a library of a few lines.


class Failure(Exception):
    """What the small library raises."""


def _library(result: Any) -> types.ModuleType:
    """A module with a sync and an async client that count their calls and return, or raise, `result`."""

    class Sender:
        calls = 0

        def send(self, url: str, headers: dict[str, str]) -> Any:
            self.calls += 1
            if isinstance(result, BaseException):
                raise result
            return result

        async def send_async(self, url: str, headers: dict[str, str]) -> Any:
            self.calls += 1
            await asyncio.sleep(0)
            if isinstance(result, BaseException):
                raise result
            return result

    module = types.ModuleType("small")
    module.Sender = Sender  # type: ignore[attr-defined]
    return module


def _read_request(instance: Any, args: Any, kwargs: Any) -> client.Request:
    return client.Request("GET", args[0], args[1], args, kwargs)


def _read_response(result: Any) -> client.Response:
    return client.Response(result)


SMALL = client.HTTPClient("small", "Sender.send", _read_request, _read_response)


@pytest.fixture
def small() -> Iterator[Callable[..., Any]]:
    def make(result: Any, declared: client.HTTPClient = SMALL) -> Any:
        module = _library(result)
        client.instrument(declared, module)
        client.instrument(declared._replace(method="Sender.send_async"), module)
        return module.Sender()

    yield make
    patch.restore("small")


@pytest.mark.parametrize("error", [Failure("no"), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration()])
def test_same_exception(small: Callable[..., Any], error: BaseException) -> None:
    """The app sees the very exception of the library, once, below one frame of ours, and its context afterwards."""
    before = context.get_current()
    with recording() as recorded:
        sender = small(error)
        with pytest.raises(type(error)) as raised:
            sender.send("http://host/", {})
        assert raised.value is error
        assert sender.calls == 1
        frames = []
        traceback = error.__traceback__
        while traceback is not None:
            frames.append(traceback.tb_frame.f_code.co_filename)
            traceback = traceback.tb_next
        assert frames == [__file__, client.__file__, __file__]
        assert error.__context__ is None
        assert context.get_current() is before
        (span,) = recorded.spans
        assert span.status.status_code is trace.StatusCode.ERROR
        assert [event.name for event in span.events] == (["exception"] if isinstance(error, Exception) else [])


async def test_same_exception_async(small: Callable[..., Any]) -> None:
    """The same for a coroutine function."""
    error = Failure("no")
    with recording() as recorded:
        with pytest.raises(Failure) as raised:
            await small(error).send_async("http://host/", {})
        assert raised.value is error
        assert (recorded.spans[0].attributes or {})["error.type"] == f"{__name__}.Failure"


def test_abandoned_coroutine(small: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """A coroutine closed in another context ends its span and makes no noise."""
    with recording() as recorded:
        coroutine = small(200).send_async("http://host/", {})
        contextvars.copy_context().run(coroutine.send, None)
        coroutine.close()
        coroutine = small(200).send_async("http://host/", {})
        before = context.get_current()
        coroutine.send(None)
        coroutine.close()
        assert context.get_current() == before
        assert [(span.attributes or {})["error.type"] for span in recorded.spans] == ["GeneratorExit"] * 2
    assert not caplog.records


def test_faults_of_ours(small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that fails costs telemetry: the request is made once and its result returned."""
    monkeypatch.setattr(guard, "strict", False)
    guard.reset()

    def broken(*args: Any) -> Any:
        raise ValueError("ours")

    try:
        with recording() as recorded:
            sender = small(200, SMALL._replace(read_request=broken))
            assert (sender.send("http://host/", {}), sender.calls) == (200, 1)
            assert recorded.spans == []
            patch.restore("small")
            sender = small(200, SMALL._replace(read_response=broken))
            assert (sender.send("http://host/", {}), sender.calls) == (200, 1)
            assert [dict(span.attributes or {}) for span in recorded.spans] == [
                {
                    "http.request.method": "GET",
                    "server.address": "host",
                    "server.port": 80,
                    "url.full": "http://host/",
                }
            ]
        assert guard.faults == {"web.small.request": 1, "web.small.response": 1}
    finally:
        guard.reset()


def test_unspeakable_exception(small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception whose text cannot be made is raised as it is, and the span ends."""
    monkeypatch.setattr(guard, "strict", False)

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    with recording() as recorded:
        with pytest.raises(Mute):
            small(Mute()).send("http://host/", {})
        assert len(recorded.spans) == 1
    guard.reset()


def test_unsampled(small: Callable[..., Any]) -> None:
    """A span that is not recorded still propagates its ids, and the request is measured."""
    with recording() as recorded:
        headers: dict[str, str] = {}
        parent = trace.SpanContext(5, 6, True, trace.TraceFlags(0))
        with trace.use_span(trace.NonRecordingSpan(parent)):
            small(200).send("http://host/", headers)
        assert headers["traceparent"].startswith(f"00-{5:032x}-")
        assert headers["traceparent"].endswith("-00")
        assert recorded.spans == []
        assert [point.count for point in recorded.points(DURATION)] == [1]


def test_layers(small: Callable[..., Any]) -> None:
    """Only a layered client keeps the requests below it from being recorded."""
    for layered, count in ((True, 1), (False, 2)):
        with recording() as recorded:
            module = types.ModuleType("outer")
            inner = small(200)

            class Sender:
                def send(self, url: str, headers: dict[str, str], inner: Any = inner) -> Any:
                    return inner.send(url, headers)

            module.Sender = Sender  # type: ignore[attr-defined]
            client.instrument(SMALL._replace(library="outer", layered=layered), module)
            assert Sender().send("http://host/", {}) == 200
            assert len(recorded.spans) == count
            patch.restore("outer")
            patch.restore("small")


def test_no_port(small: Callable[..., Any]) -> None:
    """A scheme without a default port gives no server.port."""
    with recording() as recorded:
        small(200).send("http+unix://socket/a", {})
        assert recorded.points(DURATION)[0].attributes == {
            "http.request.method": "GET",
            "server.address": "socket",
            "http.response.status_code": 200,
        }


def test_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods are recorded in upper case, unknown ones only when a setting asks for them."""
    assert client._method("GET") == ("GET", None)
    assert client._method("get") == ("GET", "get")
    assert client._method("Brew") == ("_OTHER", "Brew")
    monkeypatch.setenv("OTEL_PYTHON_INSTRUMENTATION_HTTP_CAPTURE_ALL_METHODS", "true")
    assert client._method("BREW") == ("BREW", None)
