"""Applications behind a real wsgiref server."""

from __future__ import annotations

import contextlib
import io
import threading
import urllib.error
import urllib.request
import wsgiref.simple_server
from collections.abc import Iterable, Iterator
from typing import Any

import flask
import flask.app
import pytest

from otel_instrumentors import patch
from otel_instrumentors.testing import Recording, instrumented
from otel_instrumentors.web import flask as flask_adapter
from otel_instrumentors.web import wsgiref as adapter


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    """No access log on the test's stderr."""

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def get_stderr(self) -> Any:
        """Nor about exceptions."""
        return io.StringIO()


@pytest.fixture
def seen() -> Iterator[Recording]:
    """What is recorded while wsgiref is instrumented."""
    with instrumented(adapter, wsgiref.simple_server) as result:
        yield result


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    with wsgiref.simple_server.make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def get(url: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers without the date, body."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            status, headers, body = reply.status, reply.getheaders(), reply.read()
    except urllib.error.HTTPError as error:
        with error:
            status, headers, body = error.code, list(error.headers.items()), error.read()
    return status, [item for item in headers if item[0] != "Date"], body


def pages(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise ValueError("boom")
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/file":
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"x" * 100_000))
        return wrapped
    if path == "/stream":
        return (b"chunk" for _ in range(3))
    return [b"plain"]


@pytest.mark.parametrize(
    ("path", "status", "size"), [("/plain", 200, 5), ("/stream", 200, 15), ("/boom", 500, None), ("/file", 200, None)]
)
def test_every_response_is_as_bare(path: str, status: int, size: int | None) -> None:
    """Status, headers and body over the wire are those of the bare server, and there is one span."""
    with serving(pages) as url:
        bare = get(url + path)
    with instrumented(adapter, wsgiref.simple_server) as seen:
        with serving(pages) as url:
            assert get(url + path) == bare
        (span,) = seen.spans
        sizes = [point.value for point in seen.points("http.server.response.body.size")]
    found = dict(span.attributes or {})
    assert span.name == "GET"
    assert found["http.response.status_code"] == bare[0] == status
    assert found["url.path"] == path
    assert found["server.address"] == "127.0.0.1"
    assert found["server.port"] == int(url.rpartition(":")[2])
    assert sizes == ([] if size is None else [size])


def test_flask_behind_wsgiref_is_one_span(seen: Recording) -> None:
    """Server and framework make one span, with the framework's route."""
    app = flask.Flask("one")
    app.add_url_rule("/items/<int:item>", view_func=lambda item: str(item), endpoint="item")
    with instrumented(flask_adapter, flask.app) as both, serving(app) as url:
        assert get(f"{url}/items/3")[2] == b"3"
        assert [span.name for span in both.spans] == ["GET /items/<int:item>"]


def test_restore() -> None:
    """The original comes back, identical."""
    before = wsgiref.simple_server.WSGIServer.set_app
    with instrumented(adapter, wsgiref.simple_server, wsgiref.simple_server):
        assert patch.patched() == {"wsgiref": 1}
    assert wsgiref.simple_server.WSGIServer.set_app is before
