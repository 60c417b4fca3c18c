"""Plain ASGI applications, called as a server calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, StatusCode

from otel_instrumentors import guard
from otel_instrumentors.testing import Recording, recording
from otel_instrumentors.web import asgi, urls
from otel_instrumentors.web.server import KEY

Message = Any


@pytest.fixture
def seen() -> Iterator[Recording]:
    """What is recorded during the test."""
    with recording() as result:
        yield result


def scope(path: str = "/items", *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "http_version": "1.1",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"example.com"), *headers],
        "server": ("127.0.0.1", 8000),
        "client": ("10.0.0.1", 4711),
        **more,
    }


async def call(app: Any, request: dict[str, Any], *incoming: Message) -> list[Message]:
    """The messages sent by `app`, which receives `incoming`, then a disconnect."""
    sent: list[Message] = []
    queue = list(incoming)

    async def receive() -> Message:
        return queue.pop(0) if queue else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await asgi.wrap(app)(request, receive, send)
    return sent


def respond(status: int = 200, *chunks: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    return app


async def test_request_attributes(seen: Recording) -> None:
    """Everything the scope tells is on the span, in the stable conventions' names."""
    request = scope(
        "/caf\u00e9",
        (b"user-agent", b"curl/8"),
        (b"content-length", b"11"),
        (b"forwarded", b"for=203.0.113.7"),
        method="POST",
        scheme="https",
        query_string=b"q=1&token=abc",
    )
    sent = await call(respond(200, b"12", b"345"), request)
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * 3
    span = seen.span("POST")
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "url.scheme": "https",
        "url.path": "/caf\u00e9",
        "url.query": "q=1&token=REDACTED",
        "server.address": "example.com",
        "server.port": 443,
        "network.protocol.version": "1.1",
        "user_agent.original": "curl/8",
        "http.response.status_code": 200,
    }
    assert [point.value for point in seen.points("http.server.request.body.size")] == [11]
    assert [point.value for point in seen.points("http.server.response.body.size")] == [5]


async def test_chunked_upload(seen: Recording) -> None:
    """A request body without Content-Length is measured as the application reads it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await respond()(scope, receive, send)

    chunks = [
        {"type": "http.request", "body": b"123", "more_body": True},
        {"type": "http.request", "body": b"4567", "more_body": False},
    ]
    await call(app, scope("/up", (b"transfer-encoding", b"chunked"), method="POST"), *chunks)
    await call(app, scope("/up", method="POST", http_version="2"), *chunks)
    (point,) = seen.points("http.server.request.body.size")
    assert (point.value, point.count) == (14, 2)


async def test_background_work_is_not_the_requests(seen: Recording) -> None:
    """The request is over with the last byte of its body, whatever the application does afterwards."""
    ended: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(200, b"x")(scope, receive, send)
        ended.append(len(seen.spans))

    await call(app, scope())
    assert ended == [1]


async def test_trailers_belong_to_the_response(seen: Recording) -> None:
    """A response with trailers is over after them."""
    ended: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        ended.append(len(seen.spans))
        await send({"type": "http.response.trailers", "headers": []})
        ended.append(len(seen.spans))

    await call(app, scope())
    assert ended == [0, 1]


async def test_exception_before_the_response(seen: Recording) -> None:
    """The identical exception leaves; it is recorded once and counts as the 500 the server will send."""
    error = ValueError("boom")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    with pytest.raises(ValueError, match="boom") as raised:
        await call(app, scope())
    assert raised.value is error
    (span,) = seen.spans
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: boom")
    assert [event.name for event in span.events] == ["exception"]
    (point,) = seen.points("http.server.request.duration")
    assert point.attributes["http.response.status_code"] == 500
    assert seen.points("http.server.active_requests")[0].value == 0


@pytest.mark.parametrize("status", [500, 418])
async def test_exception_after_its_own_error_page(seen: Recording, status: int) -> None:
    """An error handler that sends a page and raises on is one failed request, with that page's status."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            raise LookupError("gone")
        except LookupError:
            await respond(status, b"sorry")(scope, receive, send)
            raise

    with pytest.raises(LookupError):
        await call(app, scope())
    (span,) = seen.spans
    assert (span.attributes or {})["http.response.status_code"] == status
    assert (span.attributes or {})["error.type"] == "LookupError"
    assert len(span.events) == 1


async def test_handled_server_error(seen: Recording) -> None:
    """A 5xx that the application chose is an error without an exception."""
    await call(respond(503), scope())
    (span,) = seen.spans
    assert (span.attributes or {})["error.type"] == "503"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert list(span.events) == []


async def test_cancelled_request(seen: Recording) -> None:
    """A cancelled stream ends its span with what was sent, and cancellation goes on."""
    started = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"123", "more_body": True})
        started.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(call(app, scope()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = seen.spans
    assert span.status.status_code is StatusCode.UNSET
    assert seen.points("http.server.response.body.size")[0].value == 3
    assert seen.points("http.server.active_requests")[0].value == 0


async def test_parent_of_the_caller(seen: Recording) -> None:
    """An incoming traceparent is continued, tracestate lines joined; a doubled traceparent is not."""
    parent = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    await call(respond(), scope("/", parent, (b"tracestate", b"a=1"), (b"tracestate", b"b=2")))
    await call(respond(), scope("/", parent, parent))
    first, second = seen.spans
    assert first.context is not None
    assert first.parent is not None
    assert first.parent.span_id == 0xB7AD6B7169203331
    assert first.context.trace_state.to_header() == "a=1,b=2"
    assert second.parent is None


async def test_span_is_current(seen: Recording) -> None:
    """The application runs with the span current, and leaves nothing behind."""
    current: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        current.append(trace.get_current_span())
        await respond()(scope, receive, send)

    await call(app, scope())
    assert current[0].context == seen.spans[0].context
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_nested_layers_make_one_span(seen: Recording) -> None:
    """An application wrapped twice is one request; the inner layer hands the server's own send on."""
    await call(asgi.wrap(respond()), scope())
    assert len(seen.spans) == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (["websocket.accept", "websocket.send", "websocket.close"], 101),
        (["websocket.close"], 403),
    ],
)
async def test_websocket(seen: Recording, sent: list[str], status: int) -> None:
    """A connection is one span with the status of its handshake, and no request metric."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for kind in sent:
            await send({"type": kind})

    request = scope("/ws", type="websocket", scheme="ws")
    del request["method"]
    assert [message["type"] for message in await call(app, request)] == sent
    span = seen.span("GET")
    assert (span.attributes or {})["url.scheme"] == "ws"
    assert (span.attributes or {})["http.response.status_code"] == status
    assert not seen.points("http.server.request.duration")
    assert not seen.points("http.server.active_requests")


async def test_websocket_denial_response(seen: Recording) -> None:
    """A handshake refused with an HTTP response has that response's status."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    await call(app, scope("/ws", type="websocket", scheme="ws"))
    assert (seen.spans[0].attributes or {})["http.response.status_code"] == 401


async def test_lifespan_is_untouched(seen: Recording) -> None:
    """Other scopes go through as they are, with the server's own receive and send."""
    got: list[Any] = []

    async def app(*args: Any) -> None:
        got.extend(args)

    async def receive() -> Message: ...

    async def send(message: Message) -> None: ...

    lifespan = {"type": "lifespan"}
    await asgi.wrap(app)(lifespan, receive, send)
    assert got == [lifespan, receive, send]
    assert KEY not in lifespan
    assert not seen.spans


async def test_excluded_urls(seen: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """An excluded URL makes no span and no metric, in no layer."""
    monkeypatch.setenv("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "example.com/health")
    monkeypatch.setattr(asgi, "excluded", urls.exclusions("FASTAPI"))
    assert len(await call(asgi.wrap(respond()), scope("/healthz"))) == 2
    assert not seen.spans
    assert not seen.points("http.server.request.duration")
    await call(respond(), scope("/items"))
    assert len(seen.spans) == 1


async def test_suppressed(seen: Recording) -> None:
    """Nothing is recorded where instrumentation is suppressed."""
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        assert len(await call(respond(), scope())) == 2
    finally:
        context.detach(token)
    assert not seen.spans


async def test_minimal_scope(seen: Recording) -> None:
    """A scope with only what the specification requires is enough."""
    request = {"type": "http", "http_version": "1.1", "method": "GET", "path": "", "query_string": b"", "headers": []}
    await call(respond(204), request)
    assert dict(seen.spans[0].attributes or {}) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/",
        "network.protocol.version": "1.1",
        "http.response.status_code": 204,
    }


async def test_our_faults_stay_ours(seen: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of ours fails, the application runs once and answers as ever."""
    monkeypatch.setattr(guard, "strict", False)

    def broken(*args: Any) -> Any:
        raise RuntimeError("ours")

    guard.reset()
    with monkeypatch.context() as patched:
        patched.setattr(asgi, "_attributes", broken)
        assert len(await call(respond(200, b"x"), scope())) == 3
    assert guard.faults == {"web.asgi.begin": 1}
    sent = await call(respond("two hundred"), scope())  # type: ignore[arg-type]  # no status of ASGI
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert guard.faults == {"web.asgi.begin": 1, "web.asgi.send": 1}
    guard.reset()
    assert [point.value for point in seen.points("http.server.active_requests")] == [0]
