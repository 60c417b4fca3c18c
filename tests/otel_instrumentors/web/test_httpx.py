"""What is particular to httpx and httpx2; the laws common to all clients are in test_client."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from otel_instrumentors import guard, patch
from otel_instrumentors.testing import Recording, recording
from otel_instrumentors.web import httpx as adapter
from support import loopback


@pytest.fixture
def server() -> Iterator[loopback.Server]:
    with loopback.serving() as running:
        yield running


@pytest.fixture(params=["httpx", "httpx2"])
def httpx(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param)


@pytest.fixture
def recorded(httpx: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    monkeypatch.setattr(guard, "strict", True)
    with recording() as result:
        adapter.instrument(httpx)
        try:
            yield result
        finally:
            patch.restore(httpx.__name__)


def test_redirects(httpx: Any, recorded: Recording, server: loopback.Server) -> None:
    """Every hop of a redirect is a request of its own: one span each, with its own ids."""
    with httpx.Client(follow_redirects=True) as session:
        assert session.get(f"{server.url}/redirect/1").status_code == 200
    found = [
        ((span.attributes or {})["url.full"], (span.attributes or {})["http.response.status_code"])
        for span in recorded.spans
    ]
    assert found == [(f"{server.url}/redirect/1", 302), (f"{server.url}/ok", 200)]
    sent = [f"{span.context.span_id:016x}" for span in recorded.spans]
    assert [received.headers["traceparent"].split("-")[2] for received in server.received] == sent


def test_streaming(httpx: Any, recorded: Recording, server: loopback.Server) -> None:
    """A streamed response ends the span at its headers and is read as ever."""
    with httpx.Client() as session, session.stream("GET", f"{server.url}/stream") as response:
        assert len(recorded.spans) == 1
        assert b"".join(response.iter_bytes()) == b"onetwothree"
    assert len(recorded.spans) == 1


async def test_streaming_async(httpx: Any, recorded: Recording, server: loopback.Server) -> None:
    """The same for an AsyncClient, several at once with spans of their own."""
    async with (
        httpx.AsyncClient() as session,
        session.stream("GET", f"{server.url}/stream") as one,
        session.stream("GET", f"{server.url}/ok") as two,
    ):
        assert len(recorded.spans) == 2
        assert await one.aread() == b"onetwothree"
        assert await two.aread() == b"ok"
    assert all(span.parent is None for span in recorded.spans)


def test_cause_of_an_exception(httpx: Any, recorded: Recording) -> None:
    """The exception keeps its cause and its request."""
    with httpx.Client() as session, pytest.raises(httpx.ConnectError) as raised:
        session.get(f"http://127.0.0.1:{loopback.refusing_port()}/")
    assert raised.value.request.headers["traceparent"]
    assert type(raised.value.__cause__).__module__.startswith(httpx.__name__.replace("x", "core"))


def test_transports_that_send_nothing(httpx: Any, recorded: Recording) -> None:
    """A transport of the app, or of its tests, is no request over the network."""
    transport = httpx.MockTransport(lambda request: httpx.Response(204))
    with httpx.Client(transport=transport) as session:
        assert session.get("http://host/").status_code == 204
    assert recorded.spans == []


def test_both_at_once(monkeypatch: pytest.MonkeyPatch, server: loopback.Server) -> None:
    """httpx and httpx2 are patched, restored and named each on its own; the list of httpx excludes for both."""
    old, new = pytest.importorskip("httpx"), pytest.importorskip("httpx2")
    monkeypatch.setattr(guard, "strict", True)
    monkeypatch.setenv("OTEL_PYTHON_HTTPX_EXCLUDED_URLS", "/health")
    with recording() as recorded:
        adapter.instrument(old)
        adapter.instrument(new)
        assert {name: patch.patched()[name] for name in ("httpx", "httpx2")} == {"httpx": 2, "httpx2": 2}
        for module in (old, new):
            with module.Client() as session:
                session.get(f"{server.url}/health")
                session.get(f"{server.url}/ok")
        patch.restore("httpx")
        assert "httpx" not in patch.patched()
        with old.Client() as session:
            session.get(f"{server.url}/ok")
        patch.restore("httpx2")
    scopes = [span.instrumentation_scope for span in recorded.spans]
    assert [scope.name for scope in scopes if scope] == [
        "otel_instrumentors.web.httpx",
        "otel_instrumentors.web.httpx2",
    ]


def test_not_a_request(httpx: Any, recorded: Recording) -> None:
    """A mistake of the app is answered by the library, not by us."""
    with httpx.HTTPTransport() as transport, pytest.raises(TypeError):
        transport.handle_request()
    assert importlib.import_module(httpx.__name__) is httpx
    assert recorded.spans == []
