"""Metrics from a real SDK MeterProvider to a real receiver."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from otel_agent.hub.export.exports import Exports
from support.otlp_receiver import OtlpReceiver, ReceivedMetric


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


class Setup:
    """Exports with a MeterProvider, as the hub has them."""

    def __init__(self, **environ: str) -> None:
        self.said: list[str] = []
        self.stream = io.StringIO()
        self.exports = Exports(environ, console=self.stream, say=self.said.append)
        self.provider = MeterProvider(self.exports.metric_readers(), Resource({"service.name": "shop"}))
        self.meter = self.provider.get_meter("my.scope", "1.0")

    def end(self) -> dict[str, Any]:
        self.provider.shutdown()
        assert self.exports.drain(5) == 0
        self.exports.close()
        return self.exports.counts()["metric"]


def by_name(receiver: OtlpReceiver) -> dict[str, ReceivedMetric]:
    return {metric.name: metric for metric in receiver.metrics}


def test_all_kinds(receiver: OtlpReceiver) -> None:
    """Counters, histograms and gauges arrive, cumulative by default, and each data point is counted."""
    setup = Setup(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    setup.meter.create_counter("requests", "1", "all of them").add(3, {"route": "/a"})
    setup.meter.create_up_down_counter("active").add(-2)
    setup.meter.create_histogram("duration", "s", explicit_bucket_boundaries_advisory=[1.0, 2.0]).record(1.5)
    setup.meter.create_observable_gauge("load", [lambda options: [Observation(0.5, {"cpu": 1})]])
    counts = setup.end()
    metrics = by_name(receiver)
    assert {name: (metric.type, metric.temporality, metric.monotonic) for name, metric in metrics.items()} == {
        "requests": ("sum", "CUMULATIVE", True),
        "active": ("sum", "CUMULATIVE", False),
        "duration": ("histogram", "CUMULATIVE", False),
        "load": ("gauge", "", False),
    }
    assert [(point.value, point.attributes) for point in metrics["requests"].points] == [(3, {"route": "/a"})]
    assert metrics["duration"].points[0].bucket_counts == [0, 1, 0]
    assert metrics["requests"].resource == {"service.name": "shop"}
    assert metrics["requests"].scope.name == "my.scope"
    assert counts == {"otlp": {"accepted": 4, "exported": 4, "queued": 0, "dropped": {}}}


@pytest.mark.parametrize(
    ("preference", "expected"),
    [
        ("cumulative", {"c": "CUMULATIVE", "h": "CUMULATIVE", "u": "CUMULATIVE", "oc": "CUMULATIVE"}),
        ("delta", {"c": "DELTA", "h": "DELTA", "u": "CUMULATIVE", "oc": "DELTA"}),
        ("LowMemory", {"c": "DELTA", "h": "DELTA", "u": "CUMULATIVE", "oc": "CUMULATIVE"}),
    ],
)
def test_temporality(receiver: OtlpReceiver, preference: str, expected: dict[str, str]) -> None:
    """The temporality preference decides by kind of instrument, in any case of letters."""

    def observe(options: CallbackOptions) -> list[Observation]:
        return [Observation(1)]

    setup = Setup(
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=preference,
    )
    setup.meter.create_counter("c").add(1)
    setup.meter.create_histogram("h").record(1)
    setup.meter.create_up_down_counter("u").add(1)
    setup.meter.create_observable_counter("oc", [observe])
    setup.end()
    assert {name: metric.temporality for name, metric in by_name(receiver).items()} == expected


def test_exponential_histogram(receiver: OtlpReceiver) -> None:
    """The default histogram aggregation can be exponential."""
    setup = Setup(
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION="base2_exponential_bucket_histogram",
    )
    setup.meter.create_histogram("h").record(1.5)
    setup.end()
    assert by_name(receiver)["h"].type == "exponential_histogram"


def test_hostile_values(receiver: OtlpReceiver) -> None:
    """Attributes and numbers that OTLP cannot carry cost only themselves."""
    setup = Setup(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    setup.meter.create_counter("good").add(1, {"k": "v"})
    setup.meter.create_counter("big").add(1 << 70, {"n": 1 << 70, "s": "\ud800"})
    setup.meter.create_histogram("h", "s", "\udead").record(1, {"s": "\ud800"})
    counts = setup.end()
    metrics = by_name(receiver)
    assert metrics["good"].points[0].attributes == {"k": "v"}
    assert metrics["big"].points[0].value == float(1 << 70)
    assert metrics["big"].points[0].attributes == {"n": str(1 << 70), "s": "�"}
    assert metrics["h"].points[0].attributes == {"s": "�"}
    assert counts["otlp"] == {"accepted": 3, "exported": 3, "queued": 0, "dropped": {}}


def test_json(receiver: OtlpReceiver) -> None:
    """Metrics go as OTLP/JSON too."""
    setup = Setup(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="http/json")
    setup.meter.create_counter("c").add(1 << 60)
    setup.end()
    assert by_name(receiver)["c"].points[0].value == 1 << 60
    assert receiver.requests[0].headers["content-type"] == "application/json"


def test_console() -> None:
    """The console exporter prints one JSON line per batch."""
    setup = Setup(OTEL_METRICS_EXPORTER="console")
    setup.meter.create_counter("c").add(2)
    setup.end()
    (line,) = setup.stream.getvalue().splitlines()
    metric = json.loads(line)["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]
    assert metric["name"] == "c"
    assert metric["sum"]["dataPoints"][0]["asInt"] == "2"


def test_nothing_measured(receiver: OtlpReceiver) -> None:
    """Without data points nothing is sent."""
    setup = Setup(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    setup.end()
    assert receiver.requests == []


def test_without_destination() -> None:
    """Without a metrics destination there is no reader."""
    assert Setup(OTEL_METRICS_EXPORTER="none").exports.metric_readers() == []
