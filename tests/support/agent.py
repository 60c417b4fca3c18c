"""Run programs under the worker alone (against a test hub) or under the whole agent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from otel_agent import rundir
from otel_agent.supervisor.launch import app_environ

APPS = Path(__file__).parent.parent / "apps"


def clean_environ(**more: str) -> dict[str, str]:
    """This process's environment without settings of agents and of test tools, plus `more`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "COV_", "PYTEST_", "PYTHON"))
    }
    return {**kept, "OTEL_AGENT_STRICT": "1", **more}


def run_worker(
    path: str, *arguments: str, environ: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run this Python with `arguments`, injected, its channel going to the socket `path`."""
    given = {"capture_output": True, "text": True, "timeout": 60, **options}
    env = app_environ({**clean_environ(), **(environ or {})}, path, "test")
    return subprocess.run([sys.executable, *arguments], env=env, check=False, **given)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> tuple[int, str]:
    """(status, body) of a request; error statuses are answers, not exceptions."""
    request = urllib.request.Request(url, headers=dict(headers or {}), method=method)
    try:
        with urllib.request.urlopen(request, timeout=15) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def agent_command(*command: str, options: tuple[str, ...] = ()) -> list[str]:
    """The command line that runs `command` under the agent."""
    return [sys.executable, "-m", "otel_agent", *options, *command]


class Running:
    """A program under the agent. `url` is the hub's address."""

    def __init__(self, process: subprocess.Popen[str], environ: dict[str, str]) -> None:
        self.process = process
        self.environ = environ

    @property
    def status(self) -> dict[str, Any] | None:
        """What the run's status file says, once it is there."""
        for run in rundir.runs(self.environ):
            if run.get("pid") == self.process.pid:
                return run
        return None

    @property
    def url(self) -> str:
        """The hub's address; waits until the hub is ready."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            status = self.status
            if status is not None and status.get("url"):
                return str(status["url"])
            assert self.process.poll() is None, f"the command ended with {self.process.returncode}"
            time.sleep(0.02)
        raise AssertionError("the hub was not ready within 20 s")

    def metrics(self) -> str:
        """The text of /metrics."""
        status, text = get(f"{self.url}/metrics")
        assert status == 200, text
        return text

    def stop(self, number: int = signal.SIGTERM, timeout: float = 20) -> int:
        """Send a signal to the supervisor and wait for the command's end; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)


@contextmanager
def running(
    *command: str, options: tuple[str, ...] = (), environ: Mapping[str, str] | None = None, **popen: Any
) -> Iterator[Running]:
    """Run `command` under the agent on a free metrics port; ends it, by pid, at exit."""
    env = clean_environ(OTEL_EXPORTER_PROMETHEUS_PORT="0", **(environ or {}))
    with tempfile.TemporaryFile("w+") as stderr:
        given = {"stdout": subprocess.PIPE, "stderr": stderr, "text": True, **popen}
        process = subprocess.Popen(agent_command(*command, options=options), env=env, **given)
        try:
            yield Running(process, env)
        except BaseException:
            stderr.seek(0)
            sys.stderr.write(stderr.read())  # pytest shows it with the failure
            raise
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()


def wait_for_port(port: int, timeout: float = 20) -> None:
    """Wait until something listens on a loopback port."""
    until = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < until, f"nothing listens on port {port}"
            time.sleep(0.02)


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """The samples of one name in Prometheus text: (labels, value)."""
    from prometheus_client.parser import text_string_to_metric_families

    return [
        (dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]


def total(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of one name whose labels include `labels`."""
    return sum(value for found, value in samples(text, name) if labels.items() <= found.items())


def to_json(text: str) -> Any:
    """A parsed JSON text."""
    return json.loads(text)
