"""The hub's life: ports, signals, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.agent import get
from support.hub import Hub, hub, span
from support.otlp_receiver import OtlpReceiver


def test_a_busy_port_means_the_next_one_and_is_said() -> None:
    """The hub takes the next free port and tells the user once."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with hub(OTEL_EXPORTER_PROMETHEUS_PORT=str(port)) as running:
            assert running.url is not None
            taken = int(running.url.rpartition(":")[2])
            assert port < taken <= port + 20
            assert running.said == [f"port {port} is busy, metrics are on {running.url}/metrics"]
            assert running.get("/live")[0] == 200


def test_without_a_free_port_there_is_no_http_and_it_is_said() -> None:
    """All tried ports busy: telemetry goes on without HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        environ = {"OTEL_EXPORTER_PROMETHEUS_PORT": str(port), "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1"}
        with socket.socket() as next_one:
            next_one.bind(("127.0.0.1", port + 1))
            next_one.listen()
            with hub(**environ, OTEL_AGENT_PORT_TRIES="1") as running:
                assert running.url is None
                assert "busy" in running.said[0]
                assert running.exit() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_do_not_end_the_hub(number: signal.Signals) -> None:
    """The hub ends only when its work is done."""
    with hub() as running:
        os.kill(running.pid, number)
        time.sleep(0.1)
        assert running.get("/live")[0] == 200


def test_it_reads_everything_before_it_ends() -> None:
    """Records of workers that are dead when the app's end is told, accepted or not, reach the exporters."""
    with OtlpReceiver() as receiver, hub(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as running:
        first = running.worker()
        first.send(span(1))
        os.kill(running.pid, signal.SIGSTOP)
        for number in range(2, 12):
            late = running.worker()
            late.send(*(span(100 * number + index) for index in range(50)))
            late.socket.close()
        first.socket.close()
        running.tell({"exit": {"pid": 1, "code": 0, "deadline": 5.0}})
        os.kill(running.pid, signal.SIGCONT)
        assert running.wait() == 0
        assert not running.lingering
        assert len(receiver.spans) == 501
        assert "otel_agent.process.exits" in [metric.name for metric in receiver.metrics]


def test_an_idle_hub_ends_at_once() -> None:
    """Nothing to read and nothing to deliver: the command must not wait."""
    with hub() as running:
        assert running.exit() == 0
        assert not running.lingering


def test_it_lingers_while_a_process_of_the_app_is_connected() -> None:
    """A daemonised child keeps the hub; the supervisor is told and may go; the folder is removed at the end."""
    with hub() as running:
        worker = running.worker()
        worker.send(span(1))
        running.wait_for("otel_agent_records_received_total", 1, signal="span")
        running.tell({"exit": {"pid": 1, "code": 0, "deadline": 1.0}})
        while not running.lingering:
            running.hear()
        running.leave()
        worker.send(span(2))
        running.wait_for("otel_agent_records_received_total", 2, signal="span")
        worker.close()
        assert running.wait() == 0
        assert not os.path.exists(running.folder)


def test_it_waits_for_a_daemon_that_has_not_connected_yet() -> None:
    """A process that carries the run's mark gets a minute to say its first record."""
    with hub() as running:
        marked = {**os.environ, "OTEL_AGENT_INSTANCE": os.path.basename(running.folder)}
        with subprocess.Popen([sys.executable, "-c", "input()"], env=marked, stdin=subprocess.PIPE) as daemon:
            running.tell({"exit": {"pid": 1, "code": 0, "deadline": 1.0}})
            while not running.lingering:
                running.hear()
            worker = running.worker()
            worker.send(span())
            running.wait_for("otel_agent_records_received_total", 1, signal="span")
            worker.close()
            daemon.communicate(b"\n")
        assert running.wait() == 0


def test_without_a_supervisor_it_ends_when_nobody_is_connected() -> None:
    """The supervisor's death is no reason to lose what a connected worker says."""
    with hub() as running:
        worker = running.worker()
        running.leave()
        time.sleep(0.5)
        worker.send(span())
        running.wait_for("otel_agent_records_received_total", 1, signal="span")
        worker.close()
        assert running.wait() == 0


def test_process_metrics_are_of_the_apps_tree() -> None:
    """Memory, threads and descriptors are those of the named process and its children, read from outside."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(flush=True); input()'])"
    with (
        hub() as running,
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as app,
    ):
        assert app.stdout is not None
        app.stdout.readline()
        running.announce(app.pid)
        running.wait_for("process_thread_count", 2)
        text = running.metrics()
        for name in ("process_uptime_seconds", "process_memory_usage_bytes", "process_unix_file_descriptor_count"):
            assert f"\n{name}{{" in text
        app.communicate(b"\n")


def test_live_and_ready_follow_the_app() -> None:
    """live fails when the app is gone; ready waits for a port of the app or a served request."""
    with hub() as running:
        code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(flush=True); input()"
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle:
            running.announce(idle.pid)
            assert [running.get(path)[0] for path in ("/live", "/ready")] == [200, 503]
            idle.communicate(b"\n")
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as app:
            assert app.stdout is not None
            app.stdout.readline()
            running.announce(app.pid)
            assert [running.get(path)[0] for path in ("/live", "/ready")] == [200, 200]
            app.communicate(b"\n")
        status, body = running.get("/live")
        assert (status, json.loads(body)["status"]) == (503, "fail")
        status, body = running.get("/health")
        assert (status, json.loads(body)["status"]) == (503, "fail")


def test_the_hub_keeps_nothing_it_was_not_given() -> None:
    """No descriptor of the starting process stays open in the hub, or pipes would never end."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        with hub() as running:
            links = [os.readlink(path) for path in Path(f"/proc/{running.pid}/fd").iterdir() if path.exists()]
            assert not [link for link in links if link.startswith("pipe:")]
    finally:
        os.close(read)
        os.close(write)


def test_settings_make_the_resource() -> None:
    """target_info tells the service, not our version."""
    with hub(OTEL_RESOURCE_ATTRIBUTES="service.namespace=eu,service.name=other", APP_VERSION="1.2") as running:
        (line,) = [line for line in running.metrics().splitlines() if line.startswith("target_info{")]
        for label in ('service_name="shop"', 'service_namespace="eu"', 'service_version="1.2"'):
            assert label in line
        assert "telemetry_distro_version" not in line
        assert json.loads(running.get("/health")[1])["version"] == "1.2"


def test_bad_export_settings_cost_the_export_only() -> None:
    """The hub says one sentence and serves metrics."""
    with hub(OTEL_EXPORTER_OTLP_ENDPOINT="ftp://x") as running:
        assert len(running.said) == 1
        assert running.said[0].startswith("export is off: ")
        assert get(f"{running.url}/metrics")[0] == 200


def test_two_hubs_of_one_run_are_one_instance() -> None:
    """A restarted hub goes on as the same service.instance.id."""
    running = Hub({})
    try:
        before = [line for line in running.metrics().splitlines() if line.startswith("target_info")]
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)
        running.leave()
        running.start()
        assert [line for line in running.metrics().splitlines() if line.startswith("target_info")] == before
    finally:
        running.kill()
