"""Flask applications, and what the upstream instrumentor says about the same requests."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import flask
import flask.app
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from otel_instrumentors import patch
from otel_instrumentors.testing import Recording, instrumented
from otel_instrumentors.web import flask as adapter
from otel_instrumentors.web import urls, wsgi

Row = dict[str, Any]
STREAMED_IN: list[trace.Span] = []  # the span that was current for each streamed chunk


def make_app() -> flask.Flask:
    """The application of all tests here."""
    app = flask.Flask("shop")
    app.logger.setLevel(logging.CRITICAL + 1)
    admin = flask.Blueprint("admin", __name__, url_prefix="/admin")

    @app.get("/items/<int:item>")
    def item(item: int) -> Row:
        return {"item": item}

    @app.post("/items")
    def create() -> tuple[str, int]:
        return str(len(flask.request.get_data())), 201

    @app.get("/boom")
    def boom() -> str:
        raise ValueError("boom")

    @app.get("/teapot")
    def teapot() -> str:
        flask.abort(418)

    @app.get("/unavailable")
    def unavailable() -> str:
        flask.abort(503)

    @app.get("/stream")
    def stream() -> flask.Response:
        def lines() -> Iterator[str]:
            for number in range(3):
                STREAMED_IN.append(trace.get_current_span())
                yield f"{number}\n"

        return flask.Response(flask.stream_with_context(lines()))

    @app.get("/file")
    def file() -> flask.Response:
        return flask.send_file(__file__)

    @app.get("/span")
    def span() -> str:
        return f"{trace.get_current_span().get_span_context().span_id}"

    @app.get("/hop")
    def hop() -> Any:
        return flask.redirect("/items/1")

    @app.get("/named")
    def named() -> str:
        trace.get_current_span().update_name("my name")
        return ""

    @admin.get("/users/<name>")
    def user(name: str) -> str:
        return name

    app.register_blueprint(admin)
    return app


@pytest.fixture
def seen() -> Iterator[Recording]:
    """What is recorded while Flask is instrumented."""
    with instrumented(adapter, flask.app) as result:
        yield result


def attributes(span: ReadableSpan) -> Row:
    return dict(span.attributes or {})


@pytest.mark.parametrize(
    ("method", "path", "status", "name", "route"),
    [
        ("GET", "/items/3", 200, "GET /items/<int:item>", "/items/<int:item>"),
        ("HEAD", "/items/3", 200, "HEAD /items/<int:item>", "/items/<int:item>"),
        ("OPTIONS", "/items/3", 200, "OPTIONS /items/<int:item>", "/items/<int:item>"),
        ("POST", "/items", 201, "POST /items", "/items"),
        ("GET", "/admin/users/ada", 200, "GET /admin/users/<name>", "/admin/users/<name>"),
        ("GET", "/teapot", 418, "GET /teapot", "/teapot"),
        ("GET", "/nowhere", 404, "GET", None),
        ("DELETE", "/items/3", 405, "DELETE", None),
    ],
)
def test_route(seen: Recording, method: str, path: str, status: int, name: str, route: str | None) -> None:
    """A request is named by its rule; one that no rule took has no route."""
    with make_app().test_client().open(path, method=method, data=b"12345" if method == "POST" else None) as reply:
        assert reply.status_code == status
        size = len(reply.data)
    found = attributes(seen.span(name))
    assert found.get("http.route") == route
    assert found["http.response.status_code"] == status
    (point,) = seen.points("http.server.request.duration")
    expected = {"http.request.method": method, "url.scheme": "http", "http.response.status_code": status}
    assert point.attributes == (expected | {"http.route": route} if route else expected)
    assert seen.points("http.server.response.body.size")[0].value == size


def test_unread_responses_are_finished(seen: Recording) -> None:
    """A test that never reads the body has its span at once."""
    client = make_app().test_client()
    replies = [client.get(path) for path in ("/items/1", "/nowhere", "/boom", "/teapot")]
    assert len(seen.spans) == len(replies)


def test_unhandled_exception(seen: Recording) -> None:
    """An unhandled exception is a 500 with the exception, once, and Flask answers as ever."""
    assert make_app().test_client().get("/boom").status_code == 500
    span = seen.span("GET /boom")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: boom")
    assert attributes(span)["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]


def test_propagated_exception(seen: Recording) -> None:
    """An exception that Flask lets through reaches the caller, and is still recorded once."""
    app = make_app()
    app.testing = True
    with pytest.raises(ValueError, match="boom"):
        app.test_client().get("/boom")
    span = seen.span("GET /boom")
    assert len(span.events) == 1
    assert attributes(span)["http.response.status_code"] == 500


def test_handled_exception(seen: Recording) -> None:
    """An exception with a handler of its own is no error."""
    app = make_app()
    app.register_error_handler(ValueError, lambda error: (f"handled {error}", 400))
    assert app.test_client().get("/boom").data == b"handled boom"
    span = seen.span("GET /boom")
    assert (span.status.status_code, list(span.events)) == (StatusCode.UNSET, [])


def test_chosen_server_error(seen: Recording) -> None:
    """abort(503) is an error without an exception."""
    assert make_app().test_client().get("/unavailable").status_code == 503
    span = seen.span("GET /unavailable")
    assert attributes(span)["error.type"] == "503"
    assert (span.status.status_code, list(span.events)) == (StatusCode.ERROR, [])


def test_streamed_response(seen: Recording) -> None:
    """The span is current and open while the body is made, and ends with it."""
    STREAMED_IN.clear()
    with make_app().test_client().get("/stream") as reply:
        assert not seen.spans
        assert reply.data == b"0\n1\n2\n"
    span = seen.span("GET /stream")
    assert [current.get_span_context() for current in STREAMED_IN] == [span.context] * 3
    assert seen.points("http.server.response.body.size")[0].value == 6


def test_sent_file(seen: Recording) -> None:
    """send_file sends the same bytes and its size is known."""
    with open(__file__, "rb") as file, make_app().test_client().get("/file") as reply:
        content = file.read()
        assert reply.data == content
    assert seen.points("http.server.response.body.size")[0].value == len(content)


def test_span_is_current_in_the_view(seen: Recording) -> None:
    """A view sees the request's span, and a redirect that is followed is two requests."""
    reply = make_app().test_client().get("/span")
    (span,) = seen.spans
    assert span.context is not None
    assert int(reply.data) == span.context.span_id
    make_app().test_client().get("/hop", follow_redirects=True)
    assert [span.name for span in seen.spans[1:]] == ["GET /hop", "GET /items/<int:item>"]


def test_a_name_given_by_the_view_stays(seen: Recording) -> None:
    """A view may rename the span; the route stays."""
    make_app().test_client().get("/named")
    assert attributes(seen.span("my name"))["http.route"] == "/named"


def test_middleware_around_the_application(seen: Recording) -> None:
    """WSGI middleware is inside the span, and what it changes is what is measured."""
    app = make_app()
    inner = app.wsgi_app

    def middleware(environ: Row, start_response: Any) -> Any:
        assert trace.get_current_span().is_recording()
        if environ["PATH_INFO"] == "/blocked":
            start_response("403 FORBIDDEN", [])
            return [b"no"]
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    client = app.test_client()
    assert client.get("/blocked").data == b"no"
    assert client.get("/items/1").status_code == 200
    assert [(s.name, attributes(s)["http.response.status_code"]) for s in seen.spans] == [
        ("GET", 403),
        ("GET /items/<int:item>", 200),
    ]


def test_client_inside_a_view(seen: Recording) -> None:
    """A request that a view makes to another application is a request of its own, below the first."""
    other = make_app()
    app = make_app()
    app.add_url_rule("/proxy", "proxy", lambda: other.test_client().get("/items/9").data)
    app.test_client().get("/proxy")
    outer, inner = seen.spans
    assert (outer.name, inner.name) == ("GET /proxy", "GET /items/<int:item>")
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id


def test_excluded_url(seen: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_PYTHON_FLASK_EXCLUDED_URLS leaves no trace of a request."""
    monkeypatch.setenv("OTEL_PYTHON_FLASK_EXCLUDED_URLS", "items/.*")
    monkeypatch.setattr(wsgi, "excluded", urls.exclusions("FLASK"))
    assert make_app().test_client().get("/items/1").status_code == 200
    assert not seen.spans
    assert not seen.points("http.server.active_requests")


def test_responses_are_byte_equal() -> None:
    """Status, headers and body of every request are those of the bare application."""

    def ask() -> list[Any]:
        client = make_app().test_client()
        replies = [client.open(path, method=method) for method, path in REQUESTS]
        return [(reply.status, sorted(reply.headers), reply.data) for reply in replies]

    bare = ask()
    with instrumented(adapter, flask.app):
        observed = ask()
    assert observed == bare


def test_restore() -> None:
    """The originals come back, identical; patching twice is patching once."""
    names = ("__call__", "full_dispatch_request", "finalize_request", "handle_exception")
    before = [vars(flask.Flask).get(name) for name in names]
    with instrumented(adapter, flask.app, flask.app):
        assert patch.patched() == {"flask": 4}
        assert adapter.LIBRARY not in patch.missing
    assert [vars(flask.Flask).get(name) for name in names] == before


# Differences from upstream (opentelemetry-instrumentation-flask with OTEL_SEMCONV_STABILITY_OPT_IN=http), as data.
REQUESTS = [
    ("GET", "/items/3"),
    ("GET", "/items/3?page=2"),
    ("POST", "/items"),
    ("GET", "/admin/users/ada"),
    ("GET", "/boom"),
    ("GET", "/teapot"),
    ("GET", "/unavailable"),
    ("GET", "/stream"),
    ("GET", "/nowhere"),
    ("DELETE", "/items/3"),
    ("PROPFIND", "/items/3"),
]
REMOVED = {"client.address", "client.port"}  # who the client is, is nobody's business by default
DIFFERENT: dict[tuple[str, str], dict[str, Any]] = {
    # The conventions forbid the path in a name: it would be unbounded.
    ("GET", "/nowhere"): {"name": "GET"},
    ("DELETE", "/items/3"): {"name": "DELETE"},
    # error.type of an exception is its class, not the status that follows from it.
    ("GET", "/boom"): {"error.type": "ValueError"},
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


def ask_all(app: flask.Flask) -> None:
    for method, path in REQUESTS:
        app.test_client().open(path, method=method, headers={"User-Agent": "test"}).data  # noqa: B018


def test_same_spans_as_upstream() -> None:
    """Every span equals upstream's in name, kind, status, events and attributes, but for the listed differences."""
    pytest.importorskip("opentelemetry.instrumentation.flask")
    env = {**os.environ, "OTEL_SEMCONV_STABILITY_OPT_IN": "http"}
    run = subprocess.run([sys.executable, __file__], env=env, capture_output=True, check=True, timeout=120)
    with instrumented(adapter, flask.app) as seen:
        ask_all(make_app())
        ours = [row(span) for span in seen.spans]
    expected = [
        {key: value for key, value in theirs.items() if key not in REMOVED} | DIFFERENT.get(request, {})
        for request, theirs in zip(REQUESTS, json.loads(run.stdout), strict=True)
    ]
    assert ours == expected


def upstream() -> None:
    """Print upstream's spans for REQUESTS (run as a process: upstream reads its opt-in once)."""
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    seen = Recording()
    app = make_app()
    providers = {"tracer_provider": seen.tracer_provider, "meter_provider": seen.meter_provider}
    FlaskInstrumentor().instrument_app(app, **providers)  # type: ignore[no-untyped-call]
    ask_all(app)
    print(json.dumps([row(span) for span in seen.spans]))


if __name__ == "__main__":
    upstream()
