"""Applications behind real gunicorn workers, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from otel_instrumentors import patch
from otel_instrumentors.testing import instrumented
from otel_instrumentors.web import gunicorn as adapter

gunicorn_base = pytest.importorskip("gunicorn.app.base")

# What the agent does in each process, with spans appended to a file: the master imports it, the workers are forks.
PROGRAM = """
import json, os, sys, threading
import flask.app, gunicorn.app.base
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from otel_instrumentors import telemetry
from otel_instrumentors.web import flask as flask_adapter, gunicorn as adapter

class File(SpanExporter):
    def export(self, spans):
        with open(sys.argv[1], "a") as file:
            for span in spans:
                row = [span.name, span.kind.name, span.attributes["http.response.status_code"]]
                file.write(json.dumps(row) + chr(10))
        return SpanExportResult.SUCCESS

provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(File()))
telemetry.use(provider, None)
flask_adapter.instrument(flask.app)
adapter.instrument(gunicorn.app.base)

app = flask.Flask("served")

@app.get("/items/<int:item>")
def item(item):
    return str(item)

@app.get("/file")
def file():
    return flask.send_file(os.environ["FILE"])

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"asgi"})

class Served(gunicorn.app.base.BaseApplication):
    def load_config(self):
        for name, value in json.loads(sys.argv[2]).items():
            self.cfg.set(name, value)

    def load(self):
        return asgi if self.cfg.worker_class_str == "asgi" else app

Served().run()
"""


def serve(tmp_path: Path, paths: list[str], **settings: Any) -> tuple[list[bytes], list[list[Any]]]:
    """The bodies of `paths` and the spans of a gunicorn run with these settings."""
    program, spans = tmp_path / "program.py", tmp_path / "spans"
    program.write_text(PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        settings |= {"bind": f"fd://{listener.fileno()}", "loglevel": "critical"}
        environment = {**os.environ, "FILE": str(program), "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, str(program), str(spans), json.dumps(settings)]
        process = subprocess.Popen(command, env=environment, pass_fds=(listener.fileno(),))
    try:
        bodies = []
        for path in paths:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as reply:
                bodies.append(reply.read())
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not (spans.exists() and spans.read_text().count("\n") >= len(paths)):
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    return bodies, [json.loads(line) for line in spans.read_text().splitlines()]


@pytest.mark.parametrize(
    "settings",
    [
        {"worker_class": "sync"},
        {"worker_class": "sync", "threads": 2},
        {"worker_class": "gunicorn.workers.gthread.ThreadWorker", "preload_app": True},
        {"worker_class": "sync", "workers": 2},
    ],
    ids=["sync", "threads", "preload", "two workers"],
)
def test_flask_behind_gunicorn_is_one_span(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Server and framework make one span per request in every kind of worker; a file is sent whole."""
    bodies, spans = serve(tmp_path, ["/items/3", "/file", "/items/4"], **settings)
    assert bodies == [b"3", (tmp_path / "program.py").read_bytes(), b"4"]
    assert sorted(spans) == [
        ["GET /file", "SERVER", 200],
        ["GET /items/<int:item>", "SERVER", 200],
        ["GET /items/<int:item>", "SERVER", 200],
    ]


def test_asgi_worker(tmp_path: Path) -> None:
    """gunicorn's own ASGI worker serves an observed ASGI application."""
    pytest.importorskip("gunicorn.workers.gasgi")
    bodies, spans = serve(tmp_path, ["/"], worker_class="asgi")
    assert (bodies, spans) == ([b"asgi"], [["GET", "SERVER", 200]])


def test_protocol_of_a_worker() -> None:
    """Names, dotted paths, classes and their subclasses tell the protocol; a foreign worker is left alone."""
    SyncWorker = pytest.importorskip("gunicorn.workers.sync").SyncWorker
    Mine = type("Mine", (SyncWorker,), {})

    known = ["gthread", "egg:gunicorn#sync", "gunicorn.workers.sync.SyncWorker", SyncWorker, Mine]
    assert [adapter._protocol(worker) for worker in known] == ["wsgi"] * len(known)
    assert adapter._protocol("asgi") == "asgi"
    assert [adapter._protocol(worker) for worker in ("uvicorn.workers.UvicornWorker", "egg:x#y", object)] == [None] * 3


def test_restore() -> None:
    """The original comes back, identical."""
    before = vars(gunicorn_base.BaseApplication)["wsgi"]
    with instrumented(adapter, gunicorn_base, gunicorn_base):
        assert patch.patched() == {"gunicorn": 1}
    assert vars(gunicorn_base.BaseApplication)["wsgi"] is before
