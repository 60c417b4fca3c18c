"""FastAPI and Starlette applications, and what the upstream instrumentor says about the same requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import fastapi
import fastapi.applications
import fastapi.routing
import flask
import pytest
import starlette.applications
import starlette.routing
from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from otel_instrumentors import patch
from otel_instrumentors.testing import Recording, instrumented
from otel_instrumentors.web import asgi, urls
from otel_instrumentors.web import starlette as adapter

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # older test clients use deprecated names of anyio
    from fastapi.testclient import TestClient

Row = dict[str, Any]
MODULES = (starlette.applications, starlette.routing, fastapi.applications, fastapi.routing)


def add_pages(app: FastAPI) -> None:
    """Plain, failing and streaming routes."""

    @app.get("/items/{item}")
    def item(item: int) -> Row:
        return {"item": item}

    @app.post("/items", status_code=201)
    async def create(request: Request) -> int:
        return len(await request.body())

    @app.get("/boom")
    async def boom() -> None:
        raise ValueError("boom")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418)

    @app.get("/unavailable")
    async def unavailable() -> None:
        raise HTTPException(503)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            for number in range(3):
                yield f"{number}\n"

        return StreamingResponse(lines())


def add_spans(app: FastAPI) -> None:
    """Routes that tell which span is current, in the event loop, in a thread, after the response, in a WebSocket."""

    def current() -> int:
        return trace.get_current_span().get_span_context().span_id

    @app.get("/span/async")
    async def in_loop() -> int:
        return current()

    @app.get("/span/sync")
    def in_thread() -> int:
        return current()

    @app.get("/background")
    def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(lambda: app.state.after.append(trace.get_current_span().is_recording()))
        return "ok"

    app.state.after = []

    @app.websocket("/ws/{room}")
    async def chat(socket: WebSocket, room: str) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text(f"{room} {await socket.receive_text()} {current()}")
        except WebSocketDisconnect:
            pass


def make_app() -> FastAPI:
    """The application of all tests here."""
    app = FastAPI()
    add_pages(app)
    add_spans(app)
    inner = APIRouter(prefix="/users")

    @inner.get("/{name}")
    async def user(name: str) -> str:
        return name

    @inner.websocket("/{name}/ws")
    async def user_socket(socket: WebSocket, name: str) -> None:
        await socket.accept()
        await socket.close()

    outer = APIRouter(prefix="/v1")
    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    sub = FastAPI()

    @sub.get("/things/{thing}")
    async def thing(thing: str) -> str:
        return thing

    async def plain(request: Any) -> PlainTextResponse:
        return PlainTextResponse("plain")

    app.mount("/sub/{tenant}", sub)
    app.mount("/classic", Starlette(routes=[Mount("/deep", routes=[Route("/{key:int}", plain)])]))
    return app


@pytest.fixture
def seen() -> Iterator[Recording]:
    """What is recorded while Starlette and FastAPI are instrumented."""
    with instrumented(adapter, *MODULES) as result:
        yield result


def client(app: Any = None) -> TestClient:
    return TestClient(app or make_app(), raise_server_exceptions=False, follow_redirects=False)


def attributes(span: ReadableSpan) -> Row:
    return dict(span.attributes or {})


@pytest.mark.parametrize(
    ("method", "path", "status", "name", "route"),
    [
        ("GET", "/items/3", 200, "GET /items/{item}", "/items/{item}"),
        ("GET", "/items/x", 422, "GET /items/{item}", "/items/{item}"),
        ("POST", "/items", 201, "POST /items", "/items"),
        ("DELETE", "/items/3", 405, "DELETE /items/{item}", "/items/{item}"),
        ("GET", "/api/v1/users/ada", 200, "GET /api/v1/users/{name}", "/api/v1/users/{name}"),
        ("GET", "/sub/acme/things/7", 200, "GET /sub/{tenant}/things/{thing}", "/sub/{tenant}/things/{thing}"),
        ("GET", "/sub/acme/nothing", 404, "GET /sub/{tenant}/{path}", "/sub/{tenant}/{path}"),
        ("GET", "/classic/deep/5", 200, "GET /classic/deep/{key}", "/classic/deep/{key}"),
        ("GET", "/teapot", 418, "GET /teapot", "/teapot"),
        ("GET", "/openapi.json", 200, "GET /openapi.json", "/openapi.json"),
        ("GET", "/nowhere", 404, "GET", None),
        ("GET", "/items/3/", 307, "GET", None),
    ],
)
def test_route(seen: Recording, method: str, path: str, status: int, name: str, route: str | None) -> None:
    """A request is named by its whole template, prefixes and mounts included; without a match it has no route."""
    reply = client().request(method, path, content=b"12345" if method == "POST" else None)
    assert reply.status_code == status
    found = attributes(seen.span(name))
    assert found.get("http.route") == route
    (point,) = seen.points("http.server.request.duration")
    expected = {"http.request.method": method, "url.scheme": "http", "http.response.status_code": status}
    assert point.attributes == (expected | {"http.route": route} if route else expected)
    assert seen.points("http.server.response.body.size")[0].value == len(reply.content)
    assert [size.value for size in seen.points("http.server.request.body.size")] == ([5] if method == "POST" else [])


def test_unhandled_exception(seen: Recording) -> None:
    """An unhandled exception is a 500 with the exception, once."""
    assert client().get("/boom").status_code == 500
    span = seen.span("GET /boom")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: boom")
    assert attributes(span)["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]


def test_exception_reaches_the_server(seen: Recording) -> None:
    """The server gets the exception as without us."""
    with pytest.raises(ValueError, match="boom"):
        TestClient(make_app()).get("/boom")
    assert len(seen.span("GET /boom").events) == 1


def test_general_exception_handler(seen: Recording) -> None:
    """A handler for every Exception chooses the answer; the exception is still recorded."""
    app = make_app()
    app.add_exception_handler(Exception, lambda request, error: PlainTextResponse("sorry", status_code=400))
    assert client(app).get("/boom").text == "sorry"
    span = seen.span("GET /boom")
    assert attributes(span)["http.response.status_code"] == 400
    assert len(span.events) == 1


def test_handled_exception(seen: Recording) -> None:
    """An exception with a handler of its own is no error."""
    app = make_app()
    app.add_exception_handler(ValueError, lambda request, error: PlainTextResponse("fine"))
    assert client(app).get("/boom").text == "fine"
    span = seen.span("GET /boom")
    assert (span.status.status_code, list(span.events)) == (StatusCode.UNSET, [])


def test_chosen_server_error(seen: Recording) -> None:
    """HTTPException(503) is an error without an exception."""
    assert client().get("/unavailable").status_code == 503
    span = seen.span("GET /unavailable")
    assert attributes(span)["error.type"] == "503"
    assert (span.status.status_code, list(span.events)) == (StatusCode.ERROR, [])


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_span_is_current_in_the_handler(seen: Recording, kind: str) -> None:
    """A handler sees the request's span, in the event loop and in the thread pool."""
    reply = client().get(f"/span/{kind}")
    (span,) = seen.spans
    assert span.context is not None
    assert reply.json() == span.context.span_id


def test_background_task(seen: Recording) -> None:
    """A background task runs after the end of the span."""
    app = make_app()
    assert client(app).get("/background").json() == "ok"
    assert app.state.after == [False]
    assert len(seen.spans) == 1


def test_middleware(seen: Recording) -> None:
    """Middleware that runs the application in a task of its own changes nothing."""
    app = make_app()

    @app.middleware("http")
    async def passing(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    assert client(app).get("/items/3").status_code == 200
    assert client(app).get("/boom").status_code == 500
    good, bad = seen.spans
    assert (good.name, bad.name) == ("GET /items/{item}", "GET /boom")
    assert len(bad.events) == 1


# Starlette 0.37 with its own test client leaves a stream open, observed or not.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning")
def test_websocket(seen: Recording) -> None:
    """A connection is one span, current in its handler, from connect to disconnect."""
    with client().websocket_connect("/ws/red") as socket:
        socket.send_text("hi")
        room, text, current = socket.receive_text().split()
        assert not seen.spans
    span = seen.span("GET /ws/{room}")
    assert span.context is not None
    assert (room, text, int(current)) == ("red", "hi", span.context.span_id)
    assert attributes(span)["http.response.status_code"] == 101
    assert attributes(span)["url.scheme"] == "ws"
    with client().websocket_connect("/api/v1/users/ada/ws"):
        pass
    assert seen.spans[-1].name == "GET /api/v1/users/{name}/ws"


def test_parent_of_the_caller(seen: Recording) -> None:
    """An incoming traceparent is continued."""
    header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client().get("/items/3", headers={"traceparent": header})
    (span,) = seen.spans
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)


def test_flask_mounted_in_fastapi(seen: Recording) -> None:
    """A WSGI application mounted in an ASGI one is the same request, routed by both."""
    from otel_instrumentors.web import flask as flask_adapter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in favour of a2wsgi
        from starlette.middleware.wsgi import WSGIMiddleware
    inner = flask.Flask("inner")
    inner.add_url_rule("/hello/<name>", view_func=lambda name: name, endpoint="hello")
    app = make_app()
    app.mount("/flask", WSGIMiddleware(inner))
    with instrumented(flask_adapter, flask.app) as both:
        assert client(app).get("/flask/hello/ada").text == "ada"
        assert [span.name for span in both.spans] == ["GET /flask/hello/<name>"]


def test_excluded_url(seen: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_PYTHON_FASTAPI_EXCLUDED_URLS leaves no trace of a request."""
    monkeypatch.setenv("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "items/.*")
    monkeypatch.setattr(asgi, "excluded", urls.exclusions("FASTAPI"))
    assert client().get("/items/1").status_code == 200
    assert not seen.spans
    assert not seen.points("http.server.active_requests")


def test_builtin_telemetry_of_fastapi() -> None:
    """Newer FastAPI records requests itself once global providers exist: under us it does not record them twice."""
    pytest.importorskip("fastapi.telemetry")
    run = subprocess.run([sys.executable, __file__, "builtin"], capture_output=True, check=True, timeout=120)
    assert json.loads(run.stdout) == {
        "bare": [["GET /items/{item}", "fastapi"]],
        "observed": [["GET /items/{item}", "otel_instrumentors.web.server"]],
        "own provider": [["GET /items/{item}", "fastapi"]],
    }


def test_responses_are_byte_equal() -> None:
    """Status, headers and body of every request are those of the bare application."""

    def ask() -> list[Any]:
        replies = [client().request(method, path) for method, path in REQUESTS]
        return [(reply.status_code, reply.headers.multi_items(), reply.content) for reply in replies]

    bare = ask()
    with instrumented(adapter, *MODULES):
        observed = ask()
    assert observed == bare


def test_restore() -> None:
    """The originals come back, identical; patching twice is patching once."""
    owners = (Starlette, FastAPI, Route, Mount, starlette.routing.WebSocketRoute, fastapi.routing.APIRoute)
    before = [(vars(owner).get("__call__"), vars(owner).get("handle")) for owner in owners]
    own = sum(call is not None for call, _ in before[:2]) + sum(handle is not None for _, handle in before[2:])
    with instrumented(adapter, *MODULES, *MODULES):
        assert patch.patched() == {"starlette": own}
    assert [(vars(owner).get("__call__"), vars(owner).get("handle")) for owner in owners] == before


# Differences from upstream (opentelemetry-instrumentation-fastapi with OTEL_SEMCONV_STABILITY_OPT_IN=http), as data.
REQUESTS = [
    ("GET", "/items/3"),
    ("GET", "/items/3?page=2"),
    ("GET", "/items/x"),
    ("POST", "/items"),
    ("DELETE", "/items/3"),
    ("GET", "/api/v1/users/ada"),
    ("GET", "/classic/deep/5"),
    ("GET", "/sub/acme/things/7"),
    ("GET", "/boom"),
    ("GET", "/teapot"),
    ("GET", "/unavailable"),
    ("GET", "/stream"),
    ("GET", "/background"),
    ("GET", "/nowhere"),
    ("PROPFIND", "/items/3"),
]
REMOVED = {"client.address", "client.port"}  # who the client is, is nobody's business by default
DIFFERENT: dict[tuple[str, str], dict[str, Any]] = {
    # A mount's template goes on with that of the mounted application.
    ("GET", "/classic/deep/5"): {"name": "GET /classic/deep/{key}", "http.route": "/classic/deep/{key}"},
    ("GET", "/sub/acme/things/7"): {
        "name": "GET /sub/{tenant}/things/{thing}",
        "http.route": "/sub/{tenant}/things/{thing}",
    },
    # error.type of an exception is its class, not the status that follows from it; its message is kept.
    ("GET", "/boom"): {"error.type": "ValueError", "description": "ValueError: boom"},
}


def row(span: ReadableSpan) -> Row:
    return {
        "name": span.name,
        "kind": span.kind.name,
        "status": span.status.status_code.name,
        "description": span.status.description,
        "events": [event.name for event in span.events],
        **attributes(span),
    }


def ask_all(app: FastAPI) -> None:
    for method, path in REQUESTS:
        client(app).request(method, path, headers={"User-Agent": "test"})


def test_same_spans_as_upstream() -> None:
    """Every SERVER span equals upstream's in name, kind, status, events and attributes, but for the listed
    differences; upstream's spans for each send, receive and background task have no counterpart."""
    pytest.importorskip("opentelemetry.instrumentation.fastapi")
    env = {**os.environ, "OTEL_SEMCONV_STABILITY_OPT_IN": "http"}
    run = subprocess.run([sys.executable, __file__], env=env, capture_output=True, check=True, timeout=120)
    with instrumented(adapter, *MODULES) as seen:
        ask_all(make_app())
        ours = [row(span) for span in seen.spans]
    expected = [
        {key: value for key, value in theirs.items() if key not in REMOVED} | DIFFERENT.get(request, {})
        for request, theirs in zip(REQUESTS, json.loads(run.stdout), strict=True)
    ]
    assert ours == expected


def upstream() -> None:
    """Print upstream's SERVER spans for REQUESTS (run as a process: upstream reads its opt-in once)."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    seen = Recording()
    app = make_app()
    FastAPIInstrumentor.instrument_app(app, tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider)
    ask_all(app)
    print(json.dumps([row(span) for span in seen.spans if span.kind is trace.SpanKind.SERVER]))


def builtin() -> None:
    """Print who records a SERVER span, with a global provider, bare and observed (a process: the global one stays)."""
    seen = Recording()
    own = Recording()
    trace.set_tracer_provider(seen.tracer_provider)

    def servers(source: Recording) -> list[list[str]]:
        spans = [span for span in source.spans if span.kind is trace.SpanKind.SERVER]
        source._exporter.clear()
        return [[span.name, span.instrumentation_scope.name if span.instrumentation_scope else ""] for span in spans]

    client(make_app()).get("/items/3")
    result = {"bare": servers(seen)}
    for module in MODULES:
        adapter.instrument(module)
    client(make_app()).get("/items/3")
    result["observed"] = servers(seen)
    app = FastAPI(telemetry={"tracer_provider": own.tracer_provider})
    add_pages(app)
    client(app).get("/items/3")
    result["own provider"] = servers(own)
    print(json.dumps(result))


if __name__ == "__main__":
    builtin() if sys.argv[1:] == ["builtin"] else upstream()
