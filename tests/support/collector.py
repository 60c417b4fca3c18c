"""A real OpenTelemetry Collector as a child process, with the configuration we ship, on free loopback ports."""

import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

CONFIG_DIR = Path(__file__).resolve().parents[2] / "collector-config"
AGENT_CONFIG = CONFIG_DIR / "collector" / "agent.yaml"
DEFAULT_BINARY = CONFIG_DIR / "collector" / ".build" / "otelcol-agent"
BINARY_VARIABLE = "OTEL_AGENT_TEST_COLLECTOR"

START_TIMEOUT = 30.0  # seconds until healthy; a start takes well under one
STOP_TIMEOUT = 15.0  # seconds from SIGTERM to the end; a collector drains its queue first


class ComponentAbsent(Exception):
    """A program the test needs is not on this machine; the message says how to get it."""


class CollectorFailed(Exception):
    """The collector did not become healthy; the message ends with what it printed."""


@dataclass(frozen=True)
class Collector:
    """Addresses of a running collector. All are URLs; `prometheus` and `telemetry` include the path."""

    otlp_http: str
    otlp_grpc: str
    prometheus: str
    telemetry: str
    health: str
    pid: int
    log_file: Path

    def log(self) -> str:
        """What the collector printed so far."""
        return self.log_file.read_text(errors="replace")


def collector_binary() -> Path:
    """The collector named by OTEL_AGENT_TEST_COLLECTOR, else the one build.sh made; raises ComponentAbsent."""
    path = Path(os.environ.get(BINARY_VARIABLE) or DEFAULT_BINARY)
    if not os.access(path, os.X_OK):
        raise ComponentAbsent(
            f"no collector at {path}: run collector-config/collector/build.sh or set {BINARY_VARIABLE}"
        )
    return path


def skip_absent(absent: ComponentAbsent) -> NoReturn:
    """Skip the test with the reason; under CI=true fail it, because a skip there would prove nothing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"needed in CI: {absent}", pytrace=False)
    pytest.skip(str(absent))


def collector_environment(backend_endpoint: str | None = None) -> dict[str, str]:
    """The environment of a collector under test: nothing of OTEL_* but what the test says."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    if backend_endpoint is not None:
        environment["OTEL_BACKEND_ENDPOINT"] = backend_endpoint
    return environment


@contextmanager
def running_collector(backend_endpoint: str, config: Path = AGENT_CONFIG) -> Iterator[Collector]:
    """Run the built collector, healthy on entry, ended on exit.

    `backend_endpoint` is the base URL the collector exports to. Raises ComponentAbsent without a binary and
    CollectorFailed when it does not come up.
    """
    binary = collector_binary()
    grpc, http, prometheus, health, telemetry = free_ports(5)
    environment = collector_environment(backend_endpoint) | {
        "OTEL_COLLECTOR_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc}",
        "OTEL_COLLECTOR_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{http}",
        "OTEL_COLLECTOR_PROMETHEUS_ENDPOINT": f"127.0.0.1:{prometheus}",
        "OTEL_COLLECTOR_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
        "OTEL_COLLECTOR_TELEMETRY_PORT": str(telemetry),
    }
    with tempfile.TemporaryDirectory(prefix="otelcol-") as directory:
        log_file = Path(directory) / "collector.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [binary, "--config", config], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        collector = Collector(
            otlp_http=f"http://127.0.0.1:{http}",
            otlp_grpc=f"http://127.0.0.1:{grpc}",
            prometheus=f"http://127.0.0.1:{prometheus}/metrics",
            telemetry=f"http://127.0.0.1:{telemetry}/metrics",
            health=f"http://127.0.0.1:{health}/",
            pid=process.pid,
            log_file=log_file,
        )
        try:
            _wait_until_healthy(process, collector)
            yield collector
        finally:
            _stop(process)


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_healthy(process: subprocess.Popen[bytes], collector: Collector) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CollectorFailed(f"the collector ended with {process.returncode}:\n{collector.log()}")
        try:
            with urllib.request.urlopen(collector.health, timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise CollectorFailed(f"the collector was not healthy within {START_TIMEOUT} s:\n{collector.log()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
