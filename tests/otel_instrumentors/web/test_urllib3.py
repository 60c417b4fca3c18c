"""What is particular to urllib3; the laws common to all clients are in test_client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import urllib3
import urllib3.connectionpool

from otel_instrumentors import guard
from otel_instrumentors.testing import Recording, instrumented
from otel_instrumentors.web import urllib3 as adapter
from support import loopback


@pytest.fixture
def server() -> Iterator[loopback.Server]:
    with loopback.serving() as running:
        yield running


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    monkeypatch.setattr(guard, "strict", True)
    with instrumented(adapter, urllib3.connectionpool) as result:
        yield result


def test_manager_redirects(recorded: Recording, server: loopback.Server) -> None:
    """A PoolManager sends every hop of a redirect itself: one span each, numbered, with its own ids."""
    with urllib3.PoolManager() as manager:
        assert manager.request("GET", f"{server.url}/redirect/1").status == 200
    found = [
        (attributes["url.full"], attributes["http.response.status_code"], attributes.get("http.request.resend_count"))
        for attributes in (span.attributes or {} for span in recorded.spans)
    ]
    assert found == [(f"{server.url}/redirect/1", 302, None), (f"{server.url}/ok", 200, 1)]
    sent = [f"{span.context.span_id:016x}" for span in recorded.spans]
    assert [received.headers["traceparent"].split("-")[2] for received in server.received] == sent


def test_pool_retries(recorded: Recording, server: loopback.Server) -> None:
    """The retries and redirects of one pool are one span with the last outcome and their number."""
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port) as pool:
        retries = urllib3.Retry(3, status_forcelist=[503], backoff_factor=0)
        assert pool.urlopen("GET", "/flaky", retries=retries).status == 200
        assert pool.urlopen("GET", "/redirect/2").status == 200
    found = [
        (attributes["url.full"], attributes["http.response.status_code"], attributes["http.request.resend_count"])
        for attributes in (span.attributes or {} for span in recorded.spans)
    ]
    assert found == [(f"{server.url}/flaky", 200, 1), (f"{server.url}/redirect/2", 200, 2)]
    assert len(server.received) == 5


def test_retries_exhausted(recorded: Recording) -> None:
    """When all retries fail there is one span, with the exception that the app sees."""
    retries = urllib3.Retry(2, backoff_factor=0)
    with urllib3.PoolManager() as manager, pytest.raises(urllib3.exceptions.MaxRetryError):
        manager.request("GET", f"http://127.0.0.1:{loopback.refusing_port()}/", retries=retries)
    (span,) = recorded.spans
    assert (span.attributes or {})["error.type"] == "urllib3.exceptions.MaxRetryError"


def test_headers_of_the_app(recorded: Recording, server: loopback.Server) -> None:
    """Given headers, positional or not, are sent and not changed; without any, the pool's are sent."""
    given = {"X-Given": "1"}
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port, headers={"X-Pool": "2"}) as pool:
        pool.urlopen("GET", "/ok", None, given)
        pool.urlopen("GET", "/ok", headers=given)
        pool.urlopen(
            "GET", "/ok", headers=urllib3.HTTPHeaderDict(given) if hasattr(urllib3, "HTTPHeaderDict") else given
        )
        pool.urlopen(method="GET", url="/ok")
        assert pool.headers == {"X-Pool": "2"}
    assert given == {"X-Given": "1"}
    names = [sorted(received.headers.keys() & {"x-given", "x-pool", "traceparent"}) for received in server.received]
    assert names == [["traceparent", "x-given"]] * 3 + [["traceparent", "x-pool"]]


def test_urls(recorded: Recording) -> None:
    """The URL is that of the target: of the pool for a path, its own when absolute (through a proxy)."""
    pools = (
        (urllib3.HTTPConnectionPool("example.com"), "/a", "http://example.com/a"),
        (urllib3.HTTPSConnectionPool("example.com", 443), "/a", "https://example.com/a"),
        (urllib3.HTTPConnectionPool("::1", 8080), "/a", "http://[::1]:8080/a"),
        (urllib3.HTTPConnectionPool("proxy", 3128), "http://example.com/a", "http://example.com/a"),
        (urllib3.HTTPConnectionPool("example.com", 80), "/go?to=http://x/", "http://example.com/go?to=http://x/"),
    )
    for pool, url, expected in pools:
        request = adapter.read_request(pool, ("GET", url), {})
        assert request is not None
        assert request.url == expected
        pool.close()


def test_streaming(recorded: Recording, server: loopback.Server) -> None:
    """A response that is not preloaded ends the span at its headers and is read as ever."""
    with urllib3.PoolManager() as manager:
        response = manager.request("GET", f"{server.url}/stream", preload_content=False)
        assert len(recorded.spans) == 1
        assert b"".join(response.stream()) == b"onetwothree"
        response.release_conn()


def test_not_a_request(recorded: Recording) -> None:
    """A mistake of the app is answered by urllib3, not by us."""
    with urllib3.HTTPConnectionPool("127.0.0.1") as pool, pytest.raises(TypeError, match="url"):
        pool.urlopen("GET")  # type: ignore[call-arg]
    assert recorded.spans == []
