"""Applications behind a real uvicorn server."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from typing import Any

import fastapi.applications
import fastapi.routing
import flask
import flask.app
import pytest
import starlette.applications
import starlette.routing
import uvicorn
import uvicorn.config
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from otel_instrumentors import patch
from otel_instrumentors.testing import Recording, instrumented
from otel_instrumentors.web import flask as flask_adapter
from otel_instrumentors.web import starlette as starlette_adapter
from otel_instrumentors.web import uvicorn as adapter

FRAMEWORK = (starlette.applications, starlette.routing, fastapi.applications, fastapi.routing)


@pytest.fixture
def seen() -> Iterator[Recording]:
    """What is recorded while uvicorn and FastAPI are instrumented."""
    with instrumented(starlette_adapter, *FRAMEWORK), instrumented(adapter, uvicorn.config) as result:
        yield result


@contextlib.contextmanager
def serving(app: Any, **settings: Any) -> Iterator[str]:
    config = uvicorn.Config(app, port=0, log_level="critical", ws="none", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # uvicorn's about its own WSGI middleware
        config.load()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def get(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item}")
    def item(item: int) -> int:
        return item

    @app.get("/boom")
    async def boom() -> None:
        raise ValueError("boom")

    @app.get("/big")
    async def big() -> StreamingResponse:
        return StreamingResponse(iter([b"x" * 4096] * 256))

    return app


def found(recorded: Recording) -> list[tuple[str, Any]]:
    return [(span.name, (span.attributes or {}).get("http.response.status_code")) for span in recorded.spans]


def test_fastapi_behind_uvicorn_is_one_span(seen: Recording) -> None:
    """Server and framework make one span per request, with the framework's route and exact sizes."""
    with serving(make_app()) as url:
        assert get(f"{url}/items/3") == (200, b"3")
        assert get(f"{url}/boom") == (500, b"Internal Server Error")
        assert get(f"{url}/nowhere")[0] == 404
        assert get(f"{url}/big") == (200, b"x" * 1_048_576)
    assert found(seen) == [("GET /items/{item}", 200), ("GET /boom", 500), ("GET", 404), ("GET /big", 200)]
    assert len(seen.spans[1].events) == 1
    sizes = {point.attributes.get("http.route"): point.value for point in seen.points("http.server.response.body.size")}
    assert sizes["/big"] == 1_048_576
    assert sum(point.count for point in seen.points("http.server.request.duration")) == 4
    assert [point.value for point in seen.points("http.server.active_requests")] == [0]


def test_keep_alive_requests_are_separate_traces(seen: Recording) -> None:
    """Requests on one connection, pipelined ones too, do not become each other's children."""
    with serving(make_app()) as url:
        host = url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=10)
        for _ in range(2):
            connection.request("GET", "/big")
            connection.getresponse().read()
        connection.sock.sendall(f"GET /items/1 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() * 3)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 3:
            answers += connection.sock.recv(65536)
        connection.close()
    assert len(seen.spans) == 5
    assert [span.parent for span in seen.spans] == [None] * 5


def test_plain_asgi_application(seen: Recording) -> None:
    """An application without any framework is observed as well; its crash is the 500 that uvicorn answers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/boom":
            raise ValueError("boom")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})

    with serving(app, lifespan="off") as url:
        assert get(url) == (200, b"plain")
        assert get(f"{url}/boom")[0] == 500
    assert found(seen) == [("GET", 200), ("GET", 500)]


def test_client_that_leaves(seen: Recording) -> None:
    """A client that hangs up in the middle of a stream ends the span without an error."""
    app = make_app()
    ended = threading.Event()

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        import asyncio

        async def lines() -> Any:
            try:
                while True:
                    yield b"line\n"
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        return StreamingResponse(lines())

    with serving(app) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/endless")
        reply = connection.getresponse()
        reply.read(5)
        reply.close()
        connection.close()
        assert ended.wait(10)
    (span,) = seen.spans
    assert (span.name, span.status.status_code.name) == ("GET /endless", "UNSET")
    assert [point.value for point in seen.points("http.server.active_requests")] == [0]


def test_wsgi_application(seen: Recording) -> None:
    """A WSGI application given to uvicorn is one span too, current where the application runs."""
    app = flask.Flask("inner")
    app.add_url_rule("/items/<item>", view_func=lambda item: item, endpoint="item")
    with instrumented(flask_adapter, flask.app) as both, serving(app, interface="wsgi") as url:
        assert get(f"{url}/items/3") == (200, b"3")
        assert found(both) == [("GET /items/<item>", 200)]


def test_trusted_proxy(seen: Recording) -> None:
    """What uvicorn believes of a proxy's headers is what the span says."""
    with serving(make_app(), forwarded_allow_ips="*") as url:
        get(f"{url}/items/3", **{"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"})
    attributes = seen.spans[0].attributes or {}
    assert attributes["url.scheme"] == "https"
    assert "203.0.113.7" not in str(dict(attributes)), "the client's address is not recorded"


def test_restore() -> None:
    """The original comes back, identical."""
    before = uvicorn.Config.load
    with instrumented(adapter, uvicorn.config, uvicorn.config):
        assert patch.patched() == {"uvicorn": 1}
    assert uvicorn.Config.load is before
