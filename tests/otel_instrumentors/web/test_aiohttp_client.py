"""What is particular to aiohttp's client; the laws common to all clients are in test_client."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import aiohttp
import aiohttp.client
import pytest
import yarl

from otel_instrumentors import guard, patch
from otel_instrumentors.testing import Recording, instrumented
from otel_instrumentors.web import aiohttp_client as adapter
from support import loopback


@pytest.fixture
def server() -> Iterator[loopback.Server]:
    with loopback.serving() as running:
        yield running


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    monkeypatch.setattr(guard, "strict", True)
    with instrumented(adapter, aiohttp.client) as result:
        yield result


async def test_redirects(recorded: Recording, server: loopback.Server) -> None:
    """A chain of redirects is one span with the last status and the number of resends."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/redirect/2") as response:
        assert response.status == 200
    (span,) = recorded.spans
    attributes = span.attributes or {}
    assert attributes["url.full"] == f"{server.url}/redirect/2"
    assert attributes["http.response.status_code"] == 200
    assert attributes["http.request.resend_count"] == 2


async def test_raise_for_status(recorded: Recording, server: loopback.Server) -> None:
    """An exception for a status gives the status code beside its own type."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get(f"{server.url}/status/404")
    attributes = recorded.spans[0].attributes or {}
    assert attributes["http.response.status_code"] == 404
    assert attributes["error.type"] == "aiohttp.client_exceptions.ClientResponseError"


async def test_urls(recorded: Recording, server: loopback.Server) -> None:
    """The URL is the one requested: a string, a yarl.URL, relative to the session's base, with parameters."""
    async with aiohttp.ClientSession(server.url) as session:
        await (await session.get("/ok")).read()
        await (await session.get(yarl.URL("/ok"), params={"page": 2, "token": "x"})).read()
        await (await session._request(method="get", str_or_url="/ok?a=1")).read()
    assert [span.name for span in recorded.spans] == ["GET"] * 3
    assert [(span.attributes or {})["url.full"] for span in recorded.spans] == [
        f"{server.url}/ok",
        f"{server.url}/ok?page=2&token=REDACTED",
        f"{server.url}/ok?a=1",
    ]


async def test_headers_of_the_app(recorded: Recording, server: loopback.Server) -> None:
    """Given headers of any accepted form are sent and not changed, as are the session's own."""
    given = {"X-Given": "1"}
    forms: list[Any] = [given, list(given.items()), None]
    async with aiohttp.ClientSession(headers={"X-Session": "2"}) as session:
        for form in forms:
            await (await session.get(f"{server.url}/ok", headers=form)).read()
        assert dict(session.headers) == {"X-Session": "2"}
    assert given == {"X-Given": "1"}
    names = {"x-given", "x-session", "traceparent"}
    assert [sorted(received.headers.keys() & names) for received in server.received] == [
        ["traceparent", "x-given", "x-session"],
        ["traceparent", "x-given", "x-session"],
        ["traceparent", "x-session"],
    ]


async def test_mistakes(recorded: Recording) -> None:
    """A mistake of the app is answered by aiohttp, not by us."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.InvalidURL):
            await session.get("http://")
        with pytest.raises((TypeError, ValueError)):
            await session.get("http://host/", headers=["no pair"])
        with pytest.raises(TypeError):
            await session.get(5)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await session._request()  # type: ignore[call-arg]


async def test_headers_that_can_be_read_once(recorded: Recording, server: loopback.Server) -> None:
    """An iterator of headers is left for aiohttp to read: they arrive, and the request is recorded."""
    async with aiohttp.ClientSession() as session:
        headers: Any = iter([("X-Given", "1")])
        await (await session.get(f"{server.url}/ok", headers=headers)).read()
    assert server.received[0].headers["x-given"] == "1"
    assert len(recorded.spans) == 1


async def test_tracing_of_the_app(recorded: Recording, server: loopback.Server) -> None:
    """The app's own trace configuration sees its session and its events; an exception in it passes unchanged."""
    error = RuntimeError("from the app")
    seen: list[Any] = []

    async def begin(session: Any, ctx: Any, params: Any) -> None:
        seen.append(session)
        if params.url.path == "/fail":
            raise error

    config = aiohttp.TraceConfig()
    config.on_request_start.append(begin)
    async with aiohttp.ClientSession(trace_configs=[config]) as session:
        await (await session.get(f"{server.url}/ok")).read()
        with pytest.raises(RuntimeError) as raised:
            await session.get(f"{server.url}/fail")
        assert session.trace_configs == [config]
        assert seen == [session, session]
    assert raised.value is error


async def test_cancelled(recorded: Recording, server: loopback.Server) -> None:
    """A cancelled request ends its span as an error without an exception event."""
    async with aiohttp.ClientSession() as session:
        task = asyncio.ensure_future(session.get(f"{server.url}/slow"))
        while not server.received:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (span,) = recorded.spans
    assert (span.attributes or {})["error.type"] == "asyncio.exceptions.CancelledError"
    assert not span.events


async def test_streaming(recorded: Recording, server: loopback.Server) -> None:
    """A response ends the span at its headers and is read as ever."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/stream") as response:
        assert len(recorded.spans) == 1
        assert await response.read() == b"onetwothree"
    assert len(recorded.spans) == 1


async def test_warnings_point_at_the_app(server: loopback.Server) -> None:
    """A warning about an argument names the same file and line as without us."""
    if "stacklevel=3" not in inspect.getsource(aiohttp.ClientSession._request):
        pytest.skip("this version warns of nothing there")

    async def places() -> list[tuple[str, int]]:
        async with aiohttp.ClientSession() as session:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                async with session.get(f"{server.url}/ok", auth=aiohttp.BasicAuth("u", "p")):
                    pass
            return [(warning.filename, warning.lineno) for warning in caught]

    bare = await places()
    with instrumented(adapter, aiohttp.client) as recorded:
        assert await places() == bare
        assert len(recorded.spans) == 1
    assert __file__ in {filename for filename, _ in bare}
    assert adapter.LIBRARY not in patch.patched()
