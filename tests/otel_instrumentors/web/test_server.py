"""The request lifecycle itself, without a protocol or framework around it."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import DefaultGetter
from opentelemetry.trace import StatusCode

from otel_instrumentors import guard, semconv
from otel_instrumentors.testing import Recording, recording
from otel_instrumentors.web import server


def attributes(method: str = "GET") -> dict[str, Any]:
    return {"http.request.method": method, "url.scheme": "http", "url.path": "/users/7"}


def test_a_request_is_one_span_and_four_measurements() -> None:
    """Name, attributes and all four metrics follow from what the protocol and the framework report."""
    with recording() as seen:
        request = server.start(attributes("POST"), Context())
        assert seen.points("http.server.active_requests")[0].value == 1
        request.matched("/users/<id>")
        request.status, request.request_size, request.response_size = 201, 10, 1000
        request.finish()
    span = seen.span("POST /users/<id>")
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "url.path": "/users/7",
        "http.route": "/users/<id>",
        "http.response.status_code": 201,
    }
    labels = {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": "/users/<id>",
        "http.response.status_code": 201,
    }
    for name, value in (("request", 10), ("response", 1000)):
        (point,) = seen.points(f"http.server.{name}.body.size")
        assert (point.attributes, point.value, point.count) == (labels, value, 1)
    (duration,) = seen.points("http.server.request.duration")
    assert (duration.attributes, duration.count) == (labels, 1)
    (active,) = seen.points("http.server.active_requests")
    assert (active.attributes, active.value) == ({"http.request.method": "POST", "url.scheme": "http"}, 0)


def test_only_the_first_finish_counts() -> None:
    """A request ends exactly once, and nothing reported later reaches its span."""
    with recording() as seen:
        request = server.start(attributes(), Context())
        request.status = 200
        for _ in range(3):
            request.finish()
        request.fail(ValueError("late"))
        request.matched("/late")
    assert [span.name for span in seen.spans] == ["GET"]
    assert seen.points("http.server.request.duration")[0].count == 1
    assert seen.spans[0].status.status_code is StatusCode.UNSET


def test_metrics_are_recorded_before_the_span_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The span's end sends what is buffered, so the measurements of the request come first."""
    order: list[str] = []
    with recording() as seen:
        request = server.start(attributes(), Context())
        histogram = server.telemetry.histogram(semconv.HTTP_SERVER_REQUEST_DURATION)
        monkeypatch.setattr(histogram, "record", lambda *_: order.append("metric"))
        monkeypatch.setattr(request.span, "end", lambda *_: order.append("span"))
        request.finish()
    assert order == ["metric", "span"]
    assert not seen.spans


@pytest.mark.parametrize(
    ("method", "expected", "original", "name"),
    [
        ("GET", "GET", None, "GET"),
        ("QUERY", "QUERY", None, "QUERY"),
        ("get", "GET", "get", "GET"),
        ("PROPFIND", "_OTHER", "PROPFIND", "HTTP"),
        ("", "_OTHER", "", "HTTP"),
    ],
)
def test_methods(method: str, expected: str, original: str | None, name: str) -> None:
    """Methods outside the registry become _OTHER and keep their spelling beside it."""
    with recording() as seen:
        server.start(attributes(method), Context()).finish()
    found = dict(seen.span(name).attributes or {})
    assert found["http.request.method"] == expected
    assert found.get("http.request.method_original") == original


def test_one_exception_is_recorded_once() -> None:
    """The same exception reported by the framework and by the protocol is one event; the type is error.type."""
    error = LookupError("no row")
    with recording() as seen:
        request = server.start(attributes(), Context())
        request.fail(error)
        request.fail(error)
        request.finish()
    (span,) = seen.spans
    assert [event.name for event in span.events] == ["exception"]
    assert (span.attributes or {})["error.type"] == "LookupError"
    assert (span.attributes or {})["http.response.status_code"] == 500
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "LookupError: no row")


@pytest.mark.parametrize("status", [200, 304, 404, 499])
def test_client_errors_are_no_server_errors(status: int) -> None:
    """Below 500 the span's status stays unset."""
    with recording() as seen:
        request = server.start(attributes(), Context())
        request.status = status
        request.finish()
    assert seen.spans[0].status.status_code is StatusCode.UNSET
    assert "error.type" not in (seen.spans[0].attributes or {})


def test_cancellation_is_no_failure() -> None:
    """A request that was cancelled ends without status, error type and event."""
    from asyncio import CancelledError

    with recording() as seen:
        request = server.start(attributes(), Context())
        request.fail(CancelledError())
        request.finish()
    (span,) = seen.spans
    assert (span.status.status_code, list(span.events)) == (StatusCode.UNSET, [])
    assert "http.response.status_code" not in (span.attributes or {})


def test_attribute_sets_are_reused() -> None:
    """Two requests of one kind record with the identical attribute objects."""
    first = server._point("GET", "http", "/reused", 200, None)
    assert server._point("GET", "http", "/reused", 200, None) is first
    assert server._point("GET", "http", "/reused", 500, "500") is not first


def test_attribute_sets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit attribute sets are made afresh, not remembered."""
    monkeypatch.setattr(server, "_points", {})
    monkeypatch.setattr(server, "MAX_POINTS", 3)
    for number in range(10):
        assert server._point("GET", "http", f"/{number}", 200, None)["http.route"] == f"/{number}"
    assert len(server._points) == 3


def test_the_propagator_runs_only_for_its_headers() -> None:
    """Without a header of the propagator the current context is the parent, untouched."""
    calls: list[Any] = []

    class Getter(DefaultGetter):
        def get(self, carrier: Any, key: str) -> list[str] | None:
            calls.append(key)
            return super().get(carrier, key)

    propagation = server.Propagation(Getter(), str.lower)
    current = Context({"a": 1})
    without = {"accept": "*/*"}
    assert propagation.parent(without, without, current) is current
    assert calls == []
    carrier = {"traceparent": "00-000000000000000000000000000000aa-00000000000000bb-01"}
    parent = propagation.parent(carrier, carrier, current)
    assert trace.get_current_span(parent).get_span_context().trace_id == 0xAA
    assert "traceparent" in calls


def test_a_new_global_propagator_is_noticed() -> None:
    """The headers looked for are those of the propagator set now, not of the one set at import."""

    class Custom(CompositePropagator):
        fields = {"x-trace"}  # noqa: RUF012

        def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Context:
            return Context({"custom": carrier["x-trace"]})

    propagation = server.Propagation(DefaultGetter(), str.lower)
    propagation.parent({}, {}, Context())
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Custom([]))
    try:
        carrier = {"x-trace": "7"}
        assert propagation.parent(carrier, carrier, Context()) == {"custom": "7"}
    finally:
        propagate.set_global_textmap(before)


def test_a_leaked_context_of_a_finished_request_is_no_parent() -> None:
    """A server that starts the next request inside the task of the last one does not chain the two."""
    with recording():
        request = server.start(attributes(), Context())
        assert request.context is not None
        token = context.attach(request.context)
        assert server.surrounding() == (request.context, request)
        request.finish()
        assert server.surrounding() == (Context(), None)
        context.detach(token)


@pytest.mark.parametrize(
    ("host", "scheme", "expected"),
    [
        ("example.com", "http", ("example.com", 80)),
        ("example.com", "https", ("example.com", 443)),
        ("example.com:8080", "https", ("example.com", 8080)),
        ("[::1]:8000", "http", ("::1", 8000)),
        ("[::1]", "wss", ("::1", 443)),
        ("example.com", "gopher", ("example.com", None)),
        ("example.com:99999999999", "http", ("example.com", 80)),
        ("example.com:\u0664", "http", ("example.com", 4)),
        (":", "http", ("", 80)),
    ],
)
def test_authority(host: str, scheme: str, expected: tuple[str, int | None]) -> None:
    """A Host header gives address and port; hostile ones give something harmless."""
    assert server.authority(host, scheme) == expected


def test_our_faults_stay_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing metrics API costs the metrics: no exception, and the span still ends."""
    monkeypatch.setattr(guard, "strict", False)
    guard.reset()

    def broken(instrument: object) -> None:
        raise RuntimeError("broken")

    with recording() as seen:
        request = server.start(attributes(), Context())
        monkeypatch.setattr(server.telemetry, "histogram", broken)
        request.finish()
    assert [span.name for span in seen.spans] == ["GET"]
    assert guard.faults == {"web.server.measure": 1}
    guard.reset()


def test_garbage_is_freed_without_the_collector() -> None:
    """A finished request holds no reference to itself, its context or its exception."""
    import gc
    import weakref

    class Error(Exception):
        pass

    def handle(seen: Recording) -> weakref.ref[Any]:
        request = server.start(attributes(), Context())
        try:
            raise Error
        except Error as error:
            request.fail(error)
            alive = weakref.ref(error)
        request.finish()
        return alive

    gc.disable()
    try:
        with recording() as seen:
            assert handle(seen)() is None
    finally:
        gc.enable()
