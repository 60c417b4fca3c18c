"""Several workers, one truth: every request is counted once on /metrics and is one SERVER span at the receiver."""

import http.client
import sys
import threading
import time

import pytest

from support.agent import APPS, Running, free_port, running, total, wait_for_port
from support.otlp_receiver import OtlpReceiver

REQUESTS = 1000


def load(port: int, path: str, count: int, threads: int = 8) -> int:
    """Send `count` requests from several threads, each on a new connection (so that workers share them)."""
    answered: list[int] = []

    def send(part: int) -> None:
        for _ in range(part):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", path)
            answered.append(connection.getresponse().status)
            connection.close()

    workers = [threading.Thread(target=send, args=(count // threads,)) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return answered.count(200)


def settled(run: Running, name: str, expected: float, **labels: str) -> float:
    """The metric's total, read until it is `expected` or ten seconds have gone."""
    until = time.monotonic() + 10
    while True:
        value = total(run.metrics(), name, **labels)
        if value >= expected or time.monotonic() > until:
            return value
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("command", "path", "route"),
    [
        (["-m", "gunicorn", "-w", "4", "-b", "127.0.0.1:{port}", "flask_app:app"], "/items/3", "/items/<int:item_id>"),
        (
            ["-m", "gunicorn", "-w", "4", "--preload", "-b", "127.0.0.1:{port}", "flask_app:app"],
            "/items/3",
            "/items/<int:item_id>",
        ),
        (
            ["-m", "uvicorn", "--workers", "4", "--port", "{port}", "fastapi_app:app"],
            "/api/items/3",
            "/api/items/{item_id}",
        ),
    ],
    ids=["gunicorn", "gunicorn --preload", "uvicorn"],
)
def test_a_thousand_requests_over_four_workers(
    command: list[str], path: str, route: str, receiver: OtlpReceiver
) -> None:
    """1000 requests: /metrics counts exactly 1000, exactly 1000 SERVER and 1000 database spans are received."""
    port = free_port()
    words = [word.format(port=port) for word in command]
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with running(sys.executable, *words, environ=environ, cwd=APPS) as run:
        wait_for_port(port)
        assert load(port, path, REQUESTS) == REQUESTS
        name = "http_server_request_duration_seconds_count"
        assert settled(run, name, REQUESTS, http_route=route) == REQUESTS
        text = run.metrics()
        assert total(text, "db_client_operation_duration_seconds_count") == REQUESTS
        assert total(text, "http_server_active_requests") == 0
        assert total(text, "otel_agent_workers_connected") >= 4
        run.stop()
    spans = receiver.spans
    servers = [span for span in spans if span.kind == "SERVER"]
    assert (len(servers), len({span.span_id for span in servers})) == (REQUESTS, REQUESTS)
    assert len([span for span in spans if span.attributes.get("db.system.name") == "sqlite"]) == REQUESTS
    assert len({span.resource["process.pid"] for span in servers}) == 4
