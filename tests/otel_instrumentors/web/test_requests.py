"""What is particular to requests; the laws common to all clients are in test_client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import requests.adapters
import requests.sessions
import urllib3.connectionpool

from otel_instrumentors import guard, patch
from otel_instrumentors.testing import Recording, instrumented
from otel_instrumentors.web import requests as adapter
from otel_instrumentors.web import urllib3 as urllib3_adapter
from support import loopback


@pytest.fixture
def server() -> Iterator[loopback.Server]:
    with loopback.serving() as running:
        yield running


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    monkeypatch.setattr(guard, "strict", True)
    with instrumented(adapter, requests.sessions) as result:
        yield result


def test_urllib3_below_is_the_same_request(recorded: Recording, server: loopback.Server) -> None:
    """requests over an instrumented urllib3 makes one span and one measurement."""
    urllib3_adapter.instrument(urllib3.connectionpool)
    try:
        with requests.Session() as session:
            session.get(f"{server.url}/ok")
    finally:
        patch.restore(urllib3_adapter.LIBRARY)
    assert [span.name for span in recorded.spans] == ["GET"]
    assert [point.count for point in recorded.points("http.client.request.duration")] == [1]


def test_redirects(recorded: Recording, server: loopback.Server) -> None:
    """A chain of redirects is one span with the last status and the number of resends; all hops carry its ids."""
    with requests.Session() as session:
        response = session.get(f"{server.url}/redirect/2")
    assert (response.status_code, len(response.history)) == (200, 2)
    (span,) = recorded.spans
    attributes = span.attributes or {}
    assert attributes["url.full"] == f"{server.url}/redirect/2"
    assert attributes["http.response.status_code"] == 200
    assert attributes["http.request.resend_count"] == 2
    assert len({received.headers["traceparent"] for received in server.received}) == 1
    assert len(server.received) == 3


def test_too_many_redirects(recorded: Recording, server: loopback.Server) -> None:
    """An exception that comes with a response gives its status code beside its own type."""
    with requests.Session() as session:
        session.max_redirects = 1
        with pytest.raises(requests.TooManyRedirects):
            session.get(f"{server.url}/redirect/5")
    attributes = recorded.spans[0].attributes or {}
    assert attributes["http.response.status_code"] == 302
    assert attributes["error.type"] == "requests.exceptions.TooManyRedirects"


def test_streaming(recorded: Recording, server: loopback.Server) -> None:
    """A streamed response ends the span at its headers and is read as ever."""
    with requests.Session() as session, session.get(f"{server.url}/stream", stream=True) as response:
        assert len(recorded.spans) == 1
        assert b"".join(response.iter_content(None)) == b"onetwothree"
    assert len(recorded.spans) == 1


def test_prepared_request(recorded: Recording, server: loopback.Server) -> None:
    """A prepared request, sent again or by keyword, is sent as it is, with the ids of the latest span."""
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request("POST", f"{server.url}/ok", data={"a": "1"}))
        assert session.send(prepared).request is prepared
        assert session.send(request=prepared).status_code == 200
    assert [span.name for span in recorded.spans] == ["POST", "POST"]
    traces = [received.headers["traceparent"] for received in server.received]
    assert traces[0] != traces[1]


def test_not_a_request(recorded: Recording) -> None:
    """A mistake of the app is answered by requests, not by us."""
    with requests.Session() as session:
        with pytest.raises(TypeError, match="request"):
            session.send()  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="PreparedRequests"):
            session.send(requests.Request("GET", "http://127.0.0.1/"))  # type: ignore[arg-type]


def test_exception_of_an_adapter(recorded: Recording) -> None:
    """The exception raised below `send` is the one the app catches."""

    class Broken(requests.adapters.BaseAdapter):
        error = RuntimeError("wire cut")

        def send(self, *args: Any, **kwargs: Any) -> Any:
            raise self.error

        def close(self) -> None:
            pass

    with requests.Session() as session:
        session.mount("test://", Broken())
        with pytest.raises(RuntimeError) as raised:
            session.get("test://host/a")
    assert raised.value is Broken.error
    assert (recorded.spans[0].attributes or {})["error.type"] == "RuntimeError"
