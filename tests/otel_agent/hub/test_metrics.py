"""Measurements of several workers as one set of series."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from support.agent import samples, total
from support.collector import ComponentAbsent, skip_absent
from support.hub import Hub, hub

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
IDS = (b"\x01" * 16, b"\x02" * 8)


@pytest.fixture
def running() -> Iterator[Hub]:
    """A hub."""
    with hub() as made:
        yield made


def test_counters_are_summed_and_outlive_their_workers(running: Hub) -> None:
    """A counter is the sum over all workers that ever were, exact after they are gone."""
    workers = [running.worker() for _ in range(3)]
    for number, worker in enumerate(workers, 1):
        counter = worker.instrument("counter", "orders", "{order}")
        for _ in range(100):
            worker.record(counter, number, kind="book")
        worker.record(counter, 0.5, kind="toy")
    running.wait_for("orders_total", 600, kind="book")
    for worker in workers:
        worker.close()
    text = running.wait_for("otel_agent_workers_connected", 0)
    assert sorted((labels["kind"], value) for labels, value in samples(text, "orders_total")) == [
        ("book", 600.0),
        ("toy", 1.5),
    ]


def test_up_down_counters_are_taken_back(running: Hub) -> None:
    """What a worker had added and not taken away goes with it, however it ended."""
    staying, killed = running.worker(), running.worker()
    for worker, value in ((staying, 2), (killed, 5)):
        worker.record(worker.instrument("updowncounter", "http.server.active_requests", "{request}"), value)
    running.wait_for("http_server_active_requests", 7)
    killed.socket.close()
    running.wait_for("http_server_active_requests", 2)
    staying.close()
    running.wait_for("http_server_active_requests", 0)


def test_histograms_merge_with_the_advised_buckets(running: Hub) -> None:
    """Observations of all workers are one histogram with the buckets of the instrument."""
    for value in (0.05, 0.5, 5.0):
        worker = running.worker()
        worker.record(worker.instrument("histogram", "took", "s", (0.1, 1.0)), value)
        worker.close()
    text = running.wait_for("took_seconds_count", 3)
    assert [(labels["le"], value) for labels, value in samples(text, "took_seconds_bucket")] == [
        ("0.1", 1.0),
        ("1.0", 2.0),
        ("+Inf", 3.0),
    ]
    assert total(text, "took_seconds_sum") == 5.55


@pytest.mark.parametrize("kind", ["gauge", "observable_gauge"])
def test_gauges_are_kept_by_worker_slot(running: Hub, kind: str) -> None:
    """Each worker has its own gauge under the lowest free slot; it disappears with the worker."""
    first, second = running.worker(), running.worker()
    for worker, value in ((first, 1), (second, 2)):
        gauge = worker.instrument(kind, "depth")
        worker.record(gauge, 99)
        worker.record(gauge, value)
        running.wait_for("depth", value, otel_agent_worker=str(value - 1))
    first.close()
    text = running.wait_for("otel_agent_workers_connected", 1)
    assert [(labels["otel_agent_worker"], value) for labels, value in samples(text, "depth")] == [("1", 2.0)]
    third = running.worker()
    third.record(third.instrument(kind, "depth"), 3)
    running.wait_for("depth", 3, otel_agent_worker="0")


def test_observable_counters_add_their_change(running: Hub) -> None:
    """Absolute values are summed over workers; a restarted count begins at 0; a new connection repeats nothing."""
    first = running.worker(b"first worker id!")
    counter = first.instrument("observable_counter", "pages")
    for value in (10, 15, 15, 3):
        first.record(counter, value)
    other = running.worker()
    other.record(other.instrument("observable_counter", "pages"), 100)
    running.wait_for("pages_total", 118)
    first.socket.close()
    running.wait_for("otel_agent_workers_connected", 1)
    again = running.worker(b"first worker id!")
    again.record(again.instrument("observable_counter", "pages"), 4)
    running.wait_for("pages_total", 119)


def test_observable_up_down_counters_are_taken_back(running: Hub) -> None:
    """The last absolute value of each worker counts while it is connected."""
    workers = [running.worker() for _ in range(2)]
    for worker in workers:
        pool = worker.instrument("observable_updowncounter", "pool.size")
        worker.record(pool, 10)
        worker.record(pool, 4)
    running.wait_for("pool_size", 8)
    workers[0].close()
    running.wait_for("pool_size", 4)


def test_what_is_no_measurement_is_left_out(running: Hub) -> None:
    """Undefined ids, infinities, negative counts and names the SDK refuses cost themselves only."""
    worker = running.worker()
    counter = worker.instrument("counter", "good")
    for value in (float("nan"), float("inf"), -1, 2):
        worker.record(counter, value)
    worker.record(777, 1)
    worker.record(worker.instrument("counter", "not a name!"), 1)
    worker.record(worker.instrument("sundial", "unknown.kind"), 1)
    running.wait_for("otel_agent_records_received_total", 7, signal="metric")
    assert running.wait_for("good_total", 2)


def test_series_are_bounded(running: Hub) -> None:
    """After 2,000 series of one instrument the rest are one overflow series."""
    worker = running.worker()
    counter = worker.instrument("counter", "wide")
    for number in range(2100):
        worker.record(counter, 1, n=number)
    text = running.wait_for("wide_total", 2100)
    assert len(samples(text, "wide_total")) == 2001
    assert total(text, "wide_total", otel_metric_overflow="true") == 100


def test_scopes_with_other_attributes_keep_their_labels(running: Hub) -> None:
    """Two scopes may record one metric with different attributes; each value stands under its own label."""
    worker = running.worker()
    counter = worker.instrument("counter", "calls")
    worker.record(counter, 1, method="GET", zone="z")
    worker.record(counter, 2, method="GET", error__type="boom")
    text = running.wait_for("calls_total", 3)
    labels = {tuple(sorted(found.items())): value for found, value in samples(text, "calls_total")}
    scope = (("otel_scope_name", "test.scope"), ("otel_scope_version", "1"))
    assert labels == {
        (("method", "GET"), *scope, ("zone", "z")): 1.0,
        (("error_type", "boom"), ("method", "GET"), *scope): 2.0,
    }


def test_openmetrics_carries_exemplars_until_newer_ones_come(running: Hub) -> None:
    """The trace of a bucket's last observation is told to every scraper, not only to the first."""
    worker = running.worker()
    took = worker.instrument("histogram", "took", "s", (0.1, 1.0))
    worker.record(took, 0.5, IDS)
    worker.record(took, 5)
    running.wait_for("took_seconds_count", 2)
    for _ in range(2):
        families = list(parse_openmetrics(running.metrics(OPENMETRICS)))  # type: ignore[no-untyped-call]
        found = [sample.exemplar for family in families for sample in family.samples if sample.exemplar]
        assert [(exemplar.labels, exemplar.value) for exemplar in found] == [
            ({"trace_id": "01" * 16, "span_id": "02" * 8}, 0.5)
        ]
    assert "trace_id" not in running.metrics()


def test_promtool_accepts_the_text(running: Hub) -> None:
    """Prometheus' own checker parses /metrics, with conflicting definitions in it too."""
    promtool = shutil.which("promtool")
    if promtool is None:
        skip_absent(ComponentAbsent("no promtool: install Debian's package prometheus"))
    worker = running.worker()
    worker.record(worker.instrument("histogram", "took", "s", (0.1,)), 0.5, route='/a"b\\c\nd', bad__label=True)
    worker.record(worker.instrument("counter", "took.seconds.count"), 1)
    worker.record(worker.instrument("gauge", "same"), 1)
    worker.record(worker.instrument("counter", "same"), 1)
    text = running.wait_for("otel_agent_records_received_total", 4, signal="metric")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr  # 3: lint advice about upstream names
    assert "error while" not in done.stderr


def test_names_can_be_selected(running: Hub) -> None:
    """`name[]` selects families and samples."""
    worker = running.worker()
    worker.record(worker.instrument("histogram", "took", "s", (0.1,)), 0.5)
    worker.record(worker.instrument("counter", "c"), 1)
    running.wait_for("c_total", 1)
    _, text = running.get("/metrics?name[]=took_seconds_count&name[]=c")
    names = [line.split("{")[0] for line in text.splitlines() if not line.startswith("#")]
    assert sorted(names) == ["c_total", "took_seconds_count"]


def test_metrics_can_be_off() -> None:
    """ENABLE_METRICS=false: /metrics is not there, the rest is."""
    with hub(ENABLE_METRICS="false") as running:
        status, body = running.get("/metrics")
        assert (status, json.loads(body)["code"]) == (404, "metrics_off")
        assert running.get("/health")[0] == 200
