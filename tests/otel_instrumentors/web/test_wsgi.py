"""Plain WSGI applications, called as a server calls them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, StatusCode

from otel_instrumentors import guard
from otel_instrumentors.testing import Recording, recording
from otel_instrumentors.web import urls, wsgi

Start = Callable[..., Any]


@pytest.fixture
def seen() -> Iterator[Recording]:
    """What is recorded during the test."""
    with recording() as result:
        yield result


def environ(path: str = "/items", **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = {"PATH_INFO": path, "HTTP_HOST": "example.com", "REMOTE_ADDR": "10.0.0.1", **more}
    setup_testing_defaults(result)
    return result


def call(app: Any, request: dict[str, Any]) -> tuple[str, bytes]:
    """Status line and body, read and closed as PEP 3333 demands."""
    answer: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        answer.append(status)

    body = wsgi.wrap(app)(request, start_response)
    try:
        content = b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    return answer[0], content


def hello(request: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_request_attributes(seen: Recording) -> None:
    """Everything the environ tells is on the span, in the stable conventions' names."""
    request = environ(
        "/caf\u00c3\u00a9",
        SCRIPT_NAME="/app",
        QUERY_STRING="q=1&token=abc",
        HTTP_HOST="example.com:8080",
        HTTP_X_FORWARDED_FOR="203.0.113.7, 10.0.0.1",
        HTTP_USER_AGENT="curl/8",
        REMOTE_PORT="4711",
        SERVER_PROTOCOL="HTTP/1.1",
        REQUEST_METHOD="POST",
        CONTENT_LENGTH="11",
    )
    assert call(hello, request) == ("200 OK", b"hello")
    span = seen.span("POST")
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "url.path": "/app/caf\u00e9",
        "url.query": "q=1&token=REDACTED",
        "server.address": "example.com",
        "server.port": 8080,
        "network.protocol.version": "1.1",
        "user_agent.original": "curl/8",
        "http.response.status_code": 200,
    }
    assert [point.value for point in seen.points("http.server.request.body.size")] == [11]
    assert [point.value for point in seen.points("http.server.response.body.size")] == [5]


def test_a_list_reaches_the_server_as_it_is(seen: Recording) -> None:
    """A materialised response is not replaced, so servers keep their Content-Length short cut."""
    body = [b"a", b"b"]

    def app(request: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body

    assert wsgi.wrap(app)(environ(), lambda *_: None) is body
    assert len(seen.spans) == 1


def test_a_generator_application(seen: Recording) -> None:
    """Status, size and current span are right when all of the application runs while it is iterated."""
    current: list[Any] = []

    def app(request: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("202 Accepted", [])
        for chunk in (b"one", b"two"):
            current.append(trace.get_current_span().get_span_context().span_id)
            yield chunk

    assert call(app, environ()) == ("202 Accepted", b"onetwo")
    (span,) = seen.spans
    assert (span.attributes or {})["http.response.status_code"] == 202
    assert span.context is not None
    assert current == [span.context.span_id] * 2
    assert seen.points("http.server.response.body.size")[0].value == 6
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_the_span_ends_with_close(seen: Recording) -> None:
    """A response given up half way ends at close, with the bytes sent so far; close reaches the application."""
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"12345"
            yield b"never"

        def close(self) -> None:
            closed.append(trace.get_current_span().is_recording())

    def app(request: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Body()

    body: Any = wsgi.wrap(app)(environ(), lambda *_: None)
    assert next(iter(body)) == b"12345"
    assert not seen.spans
    body.close()
    assert closed == [True]
    assert len(seen.spans) == 1
    assert seen.points("http.server.response.body.size")[0].value == 5


def test_length_of_the_iterable_is_kept(seen: Recording) -> None:
    """An iterable with a length still has one: wsgiref makes a Content-Length of it."""

    class Body:
        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"only"])

    def app(request: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Body()

    body: Any = wsgi.wrap(app)(environ(), lambda *_: None)
    assert len(body) == 1
    assert list(body) == [b"only"]


def test_a_file_wrapper_stays_the_servers_own(seen: Recording) -> None:
    """The server recognises its file wrapper and can send the file itself; its close ends the span."""
    request = environ() | {"wsgi.file_wrapper": FileWrapper}
    file = io.BytesIO(b"x" * 100)

    def app(request: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [("content-length", "100")])
        return FileWrapper(file)

    body: Any = wsgi.wrap(app)(request, lambda *_: None)
    assert type(body) is FileWrapper
    assert not seen.spans
    body.close()
    assert file.closed
    assert len(seen.spans) == 1
    assert seen.points("http.server.response.body.size")[0].value == 100


def test_exception_of_the_application(seen: Recording) -> None:
    """The identical exception leaves; it is recorded once and counts as a 500."""
    error = ValueError("boom")

    def app(request: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        raise error

    with pytest.raises(ValueError, match="boom") as raised:
        call(app, environ())
    assert raised.value is error
    (span,) = seen.spans
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: boom")
    assert [event.name for event in span.events] == ["exception"]
    (point,) = seen.points("http.server.request.duration")
    assert point.attributes["http.response.status_code"] == 500
    assert point.attributes["error.type"] == "ValueError"
    assert seen.points("http.server.active_requests")[0].value == 0


def test_exception_while_iterating(seen: Recording) -> None:
    """An exception after the first chunk keeps the status that was sent and marks the span."""
    error = KeyError("late")

    def app(request: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"part"
        raise error

    with pytest.raises(KeyError) as raised:
        call(app, environ())
    assert raised.value is error
    (span,) = seen.spans
    assert (span.attributes or {})["http.response.status_code"] == 200
    assert (span.attributes or {})["error.type"] == "KeyError"
    assert len(span.events) == 1


def test_write_callable(seen: Recording) -> None:
    """Bytes given to the legacy write() count and reach the server."""
    written: list[bytes] = []

    def app(request: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"1234")
        return [b"56"]

    list(wsgi.wrap(app)(environ(), lambda *_: written.append))
    assert written == [b"1234"]
    assert seen.points("http.server.response.body.size")[0].value == 6


def test_status_after_an_error(seen: Recording) -> None:
    """The last start_response decides, and its exc_info is handed on."""
    calls: list[Any] = []

    def app(request: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            raise OSError
        except OSError:
            import sys

            start_response("503 Unavailable", [], sys.exc_info())
        return []

    wsgi.wrap(app)(environ(), lambda *args: calls.append(args))
    assert [len(args) for args in calls] == [2, 3]
    (span,) = seen.spans
    assert (span.attributes or {})["http.response.status_code"] == 503
    assert (span.attributes or {})["error.type"] == "503"


def test_parent_of_the_caller(seen: Recording) -> None:
    """An incoming traceparent is continued, tracestate included."""
    request = environ(
        HTTP_TRACEPARENT="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", HTTP_TRACESTATE="a=1,b=2"
    )
    call(hello, request)
    (span,) = seen.spans
    assert span.context is not None
    assert span.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert span.parent is not None
    assert span.parent.span_id == 0xB7AD6B7169203331
    assert span.parent.is_remote
    assert span.context.trace_state.to_header() == "a=1,b=2"


def test_nested_layers_make_one_span(seen: Recording) -> None:
    """An application wrapped twice is one request; a later request with the same environ is another one."""
    request = environ()
    app = wsgi.wrap(hello)
    call(app, request)
    call(app, request)
    assert len(seen.spans) == 2
    assert seen.points("http.server.request.duration")[0].count == 2


def test_excluded_urls(seen: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """An excluded URL makes no span and no metric, in no layer."""
    monkeypatch.setenv("OTEL_PYTHON_EXCLUDED_URLS", "/health")
    monkeypatch.setattr(wsgi, "excluded", urls.exclusions("FLASK"))
    assert call(wsgi.wrap(hello), environ("/healthz"))[1] == b"hello"
    assert not seen.spans
    assert not seen.points("http.server.request.duration")
    call(hello, environ("/items"))
    assert len(seen.spans) == 1


@pytest.mark.parametrize("key", ["suppress_instrumentation", context._SUPPRESS_HTTP_INSTRUMENTATION_KEY])
def test_suppressed(seen: Recording, key: str) -> None:
    """Nothing is recorded where instrumentation is suppressed."""
    token = context.attach(context.set_value(key, True))
    try:
        assert call(hello, environ())[1] == b"hello"
    finally:
        context.detach(token)
    assert not seen.spans


def test_unread_response(seen: Recording) -> None:
    """A response that is neither read nor closed ends when it is thrown away."""

    def app(request: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b""

    body = wsgi.wrap(app)(environ(), lambda *_: None)
    assert not seen.spans
    del body
    assert len(seen.spans) == 1


def test_wrong_applications_fail_as_without_us(seen: Recording) -> None:
    """What an invalid application does to the server is not changed: its chunks and its errors pass."""

    def text(request: dict[str, Any], start_response: Start) -> Any:
        start_response("two hundred", [])
        return iter([1, None])

    def nothing(request: dict[str, Any], start_response: Start) -> Any:
        return None

    chunks: Iterable[Any] = wsgi.wrap(text)(environ(), lambda *_: None)
    assert list(chunks) == [1, None]
    with pytest.raises(TypeError, match="not iterable"):
        iter(wsgi.wrap(nothing)(environ(), lambda *_: None))
    assert len(seen.spans) == 2


def test_our_faults_stay_ours(seen: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of ours fails, the application runs once and answers as ever."""
    monkeypatch.setattr(guard, "strict", False)
    calls: list[int] = []

    def app(request: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        calls.append(1)
        return hello(request, start_response)

    def broken(*args: Any) -> Any:
        raise RuntimeError("ours")

    for name in ("_attributes", "_count"):
        guard.reset()
        with monkeypatch.context() as patched:
            patched.setattr(wsgi, name, broken)
            assert call(app, environ()) == ("200 OK", b"hello")
        assert sum(guard.faults.values()) == 1
    guard.reset()
    assert calls == [1, 1]
    assert [point.value for point in seen.points("http.server.active_requests")] == [0]
