"""Five apps, bare and under the agent: what they answer, print and return is the same to the byte."""

import re
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from support.agent import APPS, agent_command, clean_environ, free_port, wait_for_port

ENVIRON = {"OTEL_EXPORTER_PROMETHEUS_PORT": "0", "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}
REQUESTS = {
    "flask": ["GET /items/3", "POST /echo", "GET /stream", "GET /teapot", "GET /nowhere", "GET /boom", "PUT /echo"],
    "fastapi": [
        "GET /api/items/3",
        "GET /api/items/x",
        "GET /api/stream",
        "POST /api/later",
        "GET /api/missing",
        "GET /nowhere",
        "GET /api/boom",
        "GET /openapi.json",
    ],
    "asgi": ["GET /a", "POST /b", "GET /boom"],
    "wsgi": ["GET /a", "POST /b", "GET /boom"],
}
SERVERS = {
    "flask": ["-m", "gunicorn", "-b", "127.0.0.1:{port}", "--log-level", "critical", "flask_app:app"],
    "fastapi": ["-m", "uvicorn", "--port", "{port}", "--log-level", "critical", "fastapi_app:app"],
    "asgi": ["-m", "uvicorn", "--port", "{port}", "--log-level", "critical", "asgi_app:app"],
    "wsgi": ["wsgi_app.py", "{port}"],
}


def exchange(port: int, line: str) -> tuple[int, dict[str, str], bytes]:
    """(status, headers but the date, body) of one request."""
    import http.client

    method, path = line.split()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body=b"\x00payload\xff" if method == "POST" else None)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, {k: v for k, v in response.getheaders() if k.lower() != "date"}, body


def serve(command: Sequence[str], requests: list[str], port: int) -> tuple[list[object], int, str, str]:
    """Start a server, send the requests, stop it: (answers, exit status, stdout, stderr)."""
    process = subprocess.Popen(
        command, env=clean_environ(**ENVIRON), cwd=APPS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for_port(port)
        answers: list[object] = [exchange(port, line) for line in requests]
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    return answers, process.returncode, out, err


def without_our_frames(stderr: str) -> list[str]:
    """The lines of stderr without times, and without tracebacks' frames that run through our wrappers."""
    lines = stderr.splitlines()
    kept: list[str] = []
    skipping = False
    for line in lines:
        if line.startswith("  File "):
            skipping = "otel_instrumentors" in line or "wrapt" in line
        elif not line.startswith("    "):
            skipping = False
        if not skipping:
            kept.append(re.sub(r"\d\d:\d\d:\d\d,\d\d\d", "", line))
    return kept


@pytest.mark.parametrize("app", list(SERVERS))
def test_servers(app: str) -> None:
    """Statuses, headers, bodies, exit status, stdout and stderr (but our own traceback frames) are equal."""
    results = []
    for under_agent in (False, True):
        port = free_port()
        command = [sys.executable, *(word.format(port=port) for word in SERVERS[app])]
        results.append(serve(agent_command(*command) if under_agent else command, REQUESTS[app], port))
    bare, under = results
    assert under[0] == bare[0]
    assert under[1:3] == bare[1:3]
    assert without_our_frames(under[3]) == without_our_frames(bare[3])
    assert "otel-agent:" not in under[3]


def test_script() -> None:
    """A script with database, failing request and exit code 3: both streams and the code are equal."""
    command = [sys.executable, "script.py"]
    results = [
        subprocess.run(line, env=clean_environ(**ENVIRON), cwd=APPS, capture_output=True, check=False, timeout=60)
        for line in (command, agent_command(*command))
    ]
    bare, under = results
    assert bare.returncode == 3
    assert (under.returncode, under.stdout, under.stderr) == (bare.returncode, bare.stdout, bare.stderr)


@pytest.mark.fault("F22")
@pytest.mark.parametrize("code", ["def broken(:\n", "import no_such_module\n", "raise ValueError('x')\n"])
def test_tracebacks_of_broken_apps(code: str) -> None:
    """An app that cannot even start fails with the same traceback and status."""
    results = [
        subprocess.run(line, env=clean_environ(**ENVIRON), input=code, capture_output=True, text=True, check=False)
        for line in ([sys.executable, "-"], agent_command(sys.executable, "-"))
    ]
    bare, under = results
    assert (under.returncode, under.stderr) == (bare.returncode, bare.stderr)
