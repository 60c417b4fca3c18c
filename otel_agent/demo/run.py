"""`otel-agent demo`: run the bundled app under the agent, drive it, show what the agent saw."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from typing import Any

from otel_agent import rundir
from otel_agent.cli import UsageError

from . import report

NEEDS = {"fastapi": "fastapi", "sqlalchemy": "sqlalchemy", "google.genai": "google-genai"}
PLAN = (
    ("GET", "/books/{n}", 24),
    ("GET", "/books/404", 3),
    ("POST", "/books/{n}/summary", 12),
    ("GET", "/books/{n}/story", 6),
    ("POST", "/books/{n}/translation", 2),
    ("GET", "/reviews/{n}", 2),
)
START = 30.0  # seconds the app may take to start


def main(arguments: list[str], environ: dict[str, str]) -> int:
    """Run the demo; with --once stop after the summary. Exit status 0, or 1 when the app did not start."""
    if arguments not in ([], ["--once"]):
        raise UsageError(f"otel-agent demo takes --once and nothing else, not {' '.join(arguments)}.")
    missing = [package for module, package in NEEDS.items() if not _is_there(module)]
    if missing:
        raise UsageError(f"the demo needs {', '.join(missing)}: pip install 'otel-agent[demo]'.")
    from .gemini_server import GeminiServer

    with tempfile.TemporaryDirectory(prefix="otel-agent-demo-") as folder, GeminiServer() as gemini:
        demo = Demo(folder, gemini.base_url, environ)
        try:
            if not demo.wait_until_up():
                sys.stderr.write("otel-agent: the demo's app did not start; its output is above.\n")
                return 1
            demo.drive()
            url = demo.hub_url()
            if url is None:
                sys.stderr.write("otel-agent: the hub has no HTTP address, so there is nothing to show.\n")
                return 1
            sys.stdout.write(report.text(_settled_summary(url), url, demo.app_url))
            sys.stdout.flush()
            if not arguments:
                demo.serve()
        except KeyboardInterrupt:
            pass
        finally:
            demo.stop()
    return 0


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


class Demo:
    """The app under the agent, as a child process."""

    def __init__(self, folder: str, gemini: str, environ: dict[str, str]) -> None:
        self.port = _free_port()
        self.app_url = f"http://127.0.0.1:{self.port}"
        self.environ = environ
        command = [sys.executable, "-m", "uvicorn", "otel_agent.demo.app:app", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "otel_agent", "--quiet", *command, "--log-level", "critical"],
            env={
                "OTEL_SERVICE_NAME": "bookshop",
                **environ,
                "GEMINI_BASE_URL": gemini,
                "DEMO_DATABASE": os.path.join(folder, "books.db"),
            },
            start_new_session=True,  # Ctrl-C is for us; we stop the app in order
        )

    def wait_until_up(self) -> bool:
        """Whether the app answers within half a minute."""
        until = time.monotonic() + START
        while time.monotonic() < until and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
                return True
            except OSError:
                time.sleep(0.05)
        return False

    def hub_url(self) -> str | None:
        """The hub's address, from the status of the run."""
        until = time.monotonic() + START
        while time.monotonic() < until and self.process.poll() is None:
            for run in rundir.runs(self.environ):
                if run.get("pid") == self.process.pid and run.get("url"):
                    return str(run["url"])
            time.sleep(0.05)
        return None

    def drive(self) -> None:
        """Send the plan's requests, four at a time."""
        requests = [(method, path.format(n=1 + n % 20)) for method, path, count in PLAN for n in range(count)]
        threads = [threading.Thread(target=self._send, args=(requests[start::4],)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self, requests: list[tuple[str, str]]) -> None:
        for method, path in requests:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request(method, path)
                connection.getresponse().read()
            except OSError:
                return
            finally:
                connection.close()

    def serve(self) -> None:
        """Until Ctrl-C, with a little traffic."""
        number = 0
        while self.process.poll() is None:
            method, path, _ = PLAN[number % len(PLAN)]
            self._send([(method, path.format(n=1 + number % 20))])
            number += 1
            time.sleep(2)

    def stop(self) -> None:
        """End the app in order."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _settled_summary(url: str) -> dict[str, Any]:
    """The hub's summary once all driven requests are in it (they are a few milliseconds behind)."""
    expected = sum(count for _, _, count in PLAN)
    host = url.removeprefix("http://")
    until = time.monotonic() + 10
    while True:
        connection = http.client.HTTPConnection(host, timeout=5)
        connection.request("GET", "/api/summary")
        summary: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        if report.total_requests(summary) >= expected or time.monotonic() > until:
            return summary
        time.sleep(0.1)
