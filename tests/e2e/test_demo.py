"""`otel-agent demo`, as a new user runs it: the summary, /metrics for Prometheus, and all signals at a collector."""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from support.agent import clean_environ, get, total
from support.collector import ComponentAbsent, running_collector, skip_absent
from support.otlp_receiver import OtlpReceiver

DEMO = [sys.executable, "-m", "otel_agent", "demo"]


@contextmanager
def serving_demo(**environ: str) -> Iterator[tuple[str, str]]:
    """The demo until its summary is printed: (summary, the hub's URL); Ctrl-C ends it with status 0."""
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            DEMO,
            env=clean_environ(OTEL_EXPORTER_PROMETHEUS_PORT="0", **environ),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            assert process.stdout is not None
            summary = read_summary(process.stdout)
            url = re.search(r"^metrics +(\S+)/metrics$", summary, re.M)
            assert url is not None, summary
            yield summary, url[1]
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            stderr.seek(0)
            assert stderr.read() == ""
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def read_summary(stream: IO[str]) -> str:
    """The lines up to the last URL."""
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if line.startswith("health "):
            break
    return "".join(lines)


def test_once() -> None:
    """`demo --once` prints requests, queries, tokens and errors, none of them zero, and exits 0."""
    result = subprocess.run(
        [*DEMO, "--once"],
        env=clean_environ(OTEL_EXPORTER_PROMETHEUS_PORT="0"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    for pattern in (
        r"^/books/\{book_id\} +27 +[\d.]+ ms$",
        r"^/books/\{book_id\}/story +6 +[\d.]+ ms$",
        r"^SELECT +[1-9]\d* +[\d.]+ ms$",
        r"^gemini-2.5-flash +18 +[1-9]\d* +[1-9]\d* +[\d.]+ ms$",
        r"^/reviews/\{book_id\} +ZeroDivisionError +2$",
    ):
        assert re.search(pattern, result.stdout, re.M), f"{pattern} is not in\n{result.stdout}"


def test_what_prometheus_sees() -> None:
    """While the demo serves, /metrics has HTTP, database and token series, and promtool accepts the text."""
    with serving_demo() as (_, url):
        status, text = get(f"{url}/metrics")
        assert (status, get(f"{url}/health")[0]) == (200, 200)
    assert total(text, "http_server_request_duration_seconds_count", http_route="/books/{book_id}") >= 27
    assert total(text, "db_client_operation_duration_seconds_count", db_operation_name="SELECT") > 0
    assert total(text, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") >= 18 * 36
    assert total(text, "gen_ai_client_inference_usage_output_tokens_total") >= 18 * 36
    assert total(text, "http_client_request_duration_seconds_count") >= 18
    promtool = shutil.which("promtool")
    if promtool is None:
        skip_absent(ComponentAbsent("no promtool: install Debian's package prometheus"))
    check = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    # 3 is promtool's "accepted, with lint notes"; the notes are about names of the semantic conventions.
    assert check.returncode in (0, 3), check.stderr
    notes = {line.split()[0] for line in check.stderr.splitlines() if line}
    assert notes <= {"process_thread_count", "process_unix_file_descriptor_count", "db_client_connection_count"}


@pytest.mark.component("collector")
def test_all_signals_through_the_collector() -> None:
    """The demo's traces, metrics and logs arrive at a receiver behind the real collector."""
    try:
        with (
            OtlpReceiver() as receiver,
            running_collector(receiver.endpoint) as collector,
            serving_demo(OTEL_EXPORTER_OTLP_ENDPOINT=collector.otlp_http),
        ):
            receiver.wait_for(lambda got: [span for span in got.spans if span.kind == "SERVER"], timeout=20)
            receiver.wait_for(lambda got: got.logs, timeout=20)
        # Metrics leave each minute, and at the end of the run.
    except ComponentAbsent as absent:
        skip_absent(absent)
    assert {span.resource["service.name"] for span in receiver.spans} == {"bookshop"}
    assert {span.attributes.get("gen_ai.request.model") for span in receiver.spans} >= {"gemini-2.5-flash"}
    (log, *_) = receiver.logs
    assert log.event_name == "gen_ai.client.operation.exception"
    assert log.attributes["error.type"] == "RESOURCE_EXHAUSTED"
    assert "http.server.request.duration" in {metric.name for metric in receiver.metrics}, json.dumps(
        sorted({metric.name for metric in receiver.metrics})
    )
