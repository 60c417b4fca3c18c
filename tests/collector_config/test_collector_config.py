"""The shipped collector configuration, run by a real collector between real OTLP and a real receiver."""

import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

from support.collector import (
    AGENT_CONFIG,
    CONFIG_DIR,
    Collector,
    ComponentAbsent,
    collector_binary,
    collector_environment,
    running_collector,
    skip_absent,
)
from support.otlp_receiver import OtlpReceiver, ReceivedSpan

OtlpMessage = ExportTraceServiceRequest | ExportMetricsServiceRequest | ExportLogsServiceRequest

# Put together here, so that the file holds nothing a scanner takes for a secret.
AWS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"
BEARER = "Bearer " + "c2VjcmV0LXRva2VuLWZvci10ZXN0cw=="
JWT = ".".join(["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiIxMjM0In0", "c2lnbmF0dXJl"])
PEM = "-----BEGIN RSA PRIVATE KEY" + "-----\nMIIEow\n-----END RSA PRIVATE KEY" + "-----"


@pytest.fixture(scope="module")
def binary() -> Path:
    try:
        return collector_binary()
    except ComponentAbsent as absent:
        skip_absent(absent)


@pytest.fixture(scope="module")
def pipeline(binary: Path) -> Iterator[tuple[Collector, OtlpReceiver]]:
    with OtlpReceiver() as backend, running_collector(backend.endpoint) as collector:
        yield collector, backend


@pytest.fixture
def collector(pipeline: tuple[Collector, OtlpReceiver]) -> Collector:
    return pipeline[0]


@pytest.fixture
def backend(pipeline: tuple[Collector, OtlpReceiver]) -> OtlpReceiver:
    pipeline[1].clear()
    return pipeline[1]


def attribute(key: str, value: str | int | list[str]) -> KeyValue:
    if isinstance(value, list):
        return KeyValue(
            key=key, value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=v) for v in value]))
        )
    return KeyValue(
        key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    )


def trace(*attributes: KeyValue, name: str = "GET /items/{id}") -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.append(attribute("service.name", "shop"))
    span = resource.scope_spans.add().spans.add(name=name, kind="SPAN_KIND_SERVER")
    span.trace_id, span.span_id = bytes(range(1, 17)), bytes(range(1, 9))
    span.start_time_unix_nano, span.end_time_unix_nano = 1_000, 2_000
    span.attributes.extend(attributes)
    return request


def metric(*attributes: KeyValue, name: str = "shop.orders") -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.append(attribute("service.name", "shop"))
    orders = resource.scope_metrics.add().metrics.add(name=name, unit="{order}")
    orders.sum.is_monotonic = True
    orders.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    orders.sum.data_points.add(as_int=7, time_unix_nano=2_000, start_time_unix_nano=1_000, attributes=attributes)
    return request


def log(body: str, *attributes: KeyValue) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.append(attribute("service.name", "shop"))
    record = resource.scope_logs.add().log_records.add(severity_number=17, severity_text="ERROR", time_unix_nano=2_000)
    record.body.string_value = body
    record.event_name = "order.failed"
    record.trace_id, record.span_id = bytes(range(1, 17)), bytes(range(1, 9))
    record.attributes.extend(attributes)
    return request


def send(collector: Collector, message: OtlpMessage) -> None:
    signal = {"Trace": "traces", "Metrics": "metrics", "Logs": "logs"}
    name = type(message).__name__.removeprefix("Export").removesuffix("ServiceRequest")
    request = urllib.request.Request(
        f"{collector.otlp_http}/v1/{signal[name]}",
        message.SerializeToString(),
        {"Content-Type": "application/x-protobuf"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200


def through(collector: Collector, backend: OtlpReceiver, *attributes: KeyValue) -> ReceivedSpan:
    send(collector, trace(*attributes))
    return backend.wait_for(lambda got: got.spans)[0]


def test_the_config_is_valid_for_the_binary(binary: Path) -> None:
    """The collector accepts agent.yaml: every component is built in, every setting is known."""
    environment = collector_environment("http://127.0.0.1:4328")
    done = subprocess.run(
        [binary, "validate", "--config", AGENT_CONFIG], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_backend_is_an_error_at_start(binary: Path) -> None:
    """Without OTEL_BACKEND_ENDPOINT the collector refuses to start and names the exporter."""
    done = subprocess.run(
        [binary, "--config", AGENT_CONFIG], env=collector_environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "exporters::otlp_http: at least one endpoint must be specified" in done.stderr


def test_a_span_arrives_as_sent(collector: Collector, backend: OtlpReceiver) -> None:
    """A span without secrets passes the collector unchanged."""
    harmless: dict[str, str | int] = {"http.route": "/items/{id}", "http.response.status_code": 200}
    span = through(collector, backend, *(attribute(key, value) for key, value in harmless.items()))
    assert (span.name, span.kind, span.start, span.end) == ("GET /items/{id}", "SERVER", 1_000, 2_000)
    assert (span.trace_id, span.span_id) == (bytes(range(1, 17)).hex(), bytes(range(1, 9)).hex())
    assert span.attributes == harmless
    assert span.resource == {"service.name": "shop"}


def test_a_metric_arrives_and_is_exposed(collector: Collector, backend: OtlpReceiver) -> None:
    """A counter goes to the backend and to the Prometheus port, under its Prometheus name."""
    send(collector, metric(attribute("region", "eu")))
    (orders,) = backend.wait_for(lambda got: got.metrics)
    assert (orders.name, orders.type, orders.unit, orders.monotonic) == ("shop.orders", "sum", "{order}", True)
    assert [(point.value, point.attributes) for point in orders.points] == [(7, {"region": "eu"})]
    with urllib.request.urlopen(collector.prometheus, timeout=10) as reply:
        exposed = reply.read().decode()
    (series,) = (line for line in exposed.splitlines() if line.startswith("shop_orders_total{"))
    assert 'job="shop"' in series
    assert 'region="eu"' in series
    assert series.endswith(" 7")


def test_a_log_arrives_as_sent(collector: Collector, backend: OtlpReceiver) -> None:
    """A log record keeps body, severity, event name and its link to the span."""
    send(collector, log("order 12 failed", attribute("order.id", 12)))
    (record,) = backend.wait_for(lambda got: got.logs)
    assert (record.body, record.severity, record.event_name) == ("order 12 failed", 17, "order.failed")
    assert (record.trace_id, record.span_id) == (bytes(range(1, 17)).hex(), bytes(range(1, 9)).hex())
    assert record.attributes == {"order.id": 12}


def test_a_secret_value_is_masked(collector: Collector, backend: OtlpReceiver) -> None:
    """What looks like a secret leaves masked; what stands around it stays, and so does the attribute."""
    masked = {
        AWS_KEY: "****",
        f"upload as {AWS_KEY} failed": "upload as **** failed",
        BEARER: "****",
        JWT: "****",
        "Authorization: Basic " + "dXNlcjpwdw==": "****",
        "proxied with basic " + "dXNlcjpwdw==": "proxied with ****",
        "postgresql://app:" + "hunter2@db:5432/shop": "postgresql:****db:5432/shop",
        "host=db " + "password=hunter2 port=5432": "host=db **** port=5432",
        '{"client_secret": ' + '"a b c", "id": 1}': '{"****, "id": 1}',
        "https://maps.example/api?q=x&key=" + "abc123": "https://maps.example/api?q=x****",
        "sk-" + "proj-" + "a1B2" * 8: "****",
        "AIza" + "a1B2" * 9: "****",
        "ghp_" + "a1B2" * 9: "****",
        "xoxb-" + "123456789012": "****",
        "sk_live_" + "a1B2" * 6: "****",
        "hf_" + "a1B2" * 8: "****",
        "https://hooks.slack.com/services" + "/T000/B000/XXXX": "https://****",
        f"first:\n{PEM}\nlast": "first:\n****\nlast",
    }
    span = through(collector, backend, *(attribute(f"note.{n}", value) for n, value in enumerate(masked)))
    assert span.attributes == {f"note.{n}": value for n, value in enumerate(masked.values())}


def test_the_value_of_a_secret_key_is_masked(collector: Collector, backend: OtlpReceiver) -> None:
    """A key that names a secret keeps its place and loses its value, whatever the type."""
    span = through(
        collector,
        backend,
        attribute("db.password", "plain"),
        attribute("api_key", "plain"),
        attribute("aws.access_key_id", "plain"),
        attribute("session_token", "plain"),
        attribute("pin", 1234),
        attribute("http.request.header.x-auth-key", ["plain"]),
    )
    assert set(span.attributes.values()) == {"****"}
    assert len(span.attributes) == 6


def test_secrets_are_masked_wherever_attributes_are(collector: Collector, backend: OtlpReceiver) -> None:
    """Resource, scope, event, array, data point and log body are searched as span attributes are."""
    spans = trace(attribute("list", ["a", AWS_KEY]))
    spans.resource_spans[0].resource.attributes.append(attribute("note", AWS_KEY))
    spans.resource_spans[0].scope_spans[0].scope.attributes.append(attribute("note", AWS_KEY))
    spans.resource_spans[0].scope_spans[0].spans[0].events.add(name="e").attributes.append(attribute("note", BEARER))
    send(collector, spans)
    send(collector, metric(attribute("note", AWS_KEY), name="shop.masked"))
    send(collector, log(f"got {BEARER}", attribute("note", AWS_KEY)))
    backend.wait_for(lambda got: got.spans and got.metrics and got.logs)
    (span,), (orders,), (record,) = backend.spans, backend.metrics, backend.logs
    assert span.attributes == {"list": '["a","****"]'}
    assert (span.resource["note"], span.scope.attributes["note"]) == ("****", "****")
    assert span.events[0].attributes == {"note": "****"}
    assert orders.points[0].attributes == {"note": "****"}
    assert (record.body, record.attributes) == ("got ****", {"note": "****"})
    sent = b"".join(request.payload for request in backend.requests)
    assert AWS_KEY.encode() not in sent
    assert BEARER.encode() not in sent


def test_harmless_values_are_left_alone(collector: Collector, backend: OtlpReceiver) -> None:
    """Token counts, statements, ids, prose and paths are not taken for secrets."""
    harmless: dict[str, str | int | list[str]] = {
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.token.type": "input",
        "session.id": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
        "db.query.text": "SELECT id, name FROM users WHERE id IN (?)",
        "url.full": "https://shop.example/items/3?page=2&sort=name",
        "note": "basic understanding of risk-management-for-everybody, max_tokens=10",
        "order.number": 4111111111111111,
        "mail": "mailto:ada@example.org",
        "tags": ["a", "b"],
    }
    span = through(collector, backend, *(attribute(key, value) for key, value in harmless.items()))
    assert span.attributes == harmless


def test_a_busy_backend_loses_nothing(collector: Collector, backend: OtlpReceiver) -> None:
    """A span refused with 503 is sent again after Retry-After and arrives once."""
    backend.answers.append((503, {"Retry-After": "1"}, b""))
    span = through(collector, backend)
    assert (span.name, len(backend.requests), len(backend.spans)) == ("GET /items/{id}", 2, 1)
    assert backend.requests[0].payload == backend.requests[1].payload


def test_an_outage_loses_nothing(collector: Collector, backend: OtlpReceiver) -> None:
    """What the collector took while the backend was away arrives when it is back."""
    backend.stop()
    send(collector, trace())
    send(collector, metric())
    send(collector, log("order 12 failed"))
    backend.start()
    backend.wait_for(lambda got: got.spans and got.metrics and got.logs, timeout=30)
    assert [len(backend.spans), len(backend.metrics), len(backend.logs)] == [1, 1, 1]


def test_the_collector_reports_on_itself(collector: Collector, backend: OtlpReceiver) -> None:
    """The collector counts the spans it accepted on its own telemetry port."""
    through(collector, backend)
    with urllib.request.urlopen(collector.telemetry, timeout=10) as reply:
        assert "otelcol_receiver_accepted_spans" in reply.read().decode()


def test_each_variable_is_in_the_readme() -> None:
    """README's table names every variable of agent.yaml with its default, and no other."""
    used = re.findall(r"\$\{env:(\w+)(?::-([^}]*))?\}", AGENT_CONFIG.read_text())
    readme = (CONFIG_DIR / "README.md").read_text()
    documented = re.findall(r"^\| `(OTEL_(?:COLLECTOR|BACKEND)_\w+)` \| (?:`([^`]*)`|none) \|", readme, re.MULTILINE)
    assert sorted(documented) == sorted(used)
