"""Turns the body of an OTLP request, protobuf or JSON, into the dataclasses of otlp_messages."""

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from support.otlp_messages import (
    Attributes,
    ReceivedEvent,
    ReceivedExemplar,
    ReceivedLink,
    ReceivedLog,
    ReceivedMetric,
    ReceivedPoint,
    ReceivedSpan,
    Scope,
)

AnyPoint = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint
OtlpRequest = ExportTraceServiceRequest | ExportMetricsServiceRequest | ExportLogsServiceRequest

Content = list[ReceivedSpan] | list[ReceivedMetric] | list[ReceivedLog]

JSON_ID_FIELDS = frozenset({"traceId", "spanId", "parentSpanId"})


def decode(path: str, body: bytes, *, is_json: bool) -> Content | None:
    """What a request to an OTLP path brings; None for another path; ValueError when it does not parse."""
    if path == "/v1/traces":
        traces = ExportTraceServiceRequest()
        _fill(traces, body, is_json)
        return list(_spans_of(traces))
    if path == "/v1/metrics":
        metrics = ExportMetricsServiceRequest()
        _fill(metrics, body, is_json)
        return list(_metrics_of(metrics))
    if path == "/v1/logs":
        logs = ExportLogsServiceRequest()
        _fill(logs, body, is_json)
        return list(_logs_of(logs))
    return None


def _fill(message: OtlpRequest, body: bytes, is_json: bool) -> None:
    try:
        if is_json:
            json_format.ParseDict(_with_binary_ids(json.loads(body)), message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(body)
    except Exception as error:  # protobuf's parse errors have no common base class
        raise ValueError(f"not an OTLP {type(message).__name__}: {error}") from error


def _spans_of(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = _scope(scope_spans.scope, scope_spans.schema_url)
            for span in scope_spans.spans:
                yield _span(span, scope, resource)


def _metrics_of(request: ExportMetricsServiceRequest) -> Iterator[ReceivedMetric]:
    for resource_metrics in request.resource_metrics:
        resource = _attributes(resource_metrics.resource.attributes)
        for scope_metrics in resource_metrics.scope_metrics:
            scope = _scope(scope_metrics.scope, scope_metrics.schema_url)
            for metric in scope_metrics.metrics:
                yield _metric(metric, scope, resource)


def _logs_of(request: ExportLogsServiceRequest) -> Iterator[ReceivedLog]:
    for resource_logs in request.resource_logs:
        resource = _attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            scope = _scope(scope_logs.scope, scope_logs.schema_url)
            for record in scope_logs.log_records:
                yield _log(record, scope, resource)


def _span(span: Span, scope: Scope, resource: Attributes) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=_hex(span.trace_id, 16),
        span_id=_hex(span.span_id, 8),
        parent_span_id=_hex(span.parent_span_id, 8, optional=True),
        attributes=_attributes(span.attributes),
        events=[ReceivedEvent(e.name, _attributes(e.attributes), e.time_unix_nano) for e in span.events],
        links=[
            ReceivedLink(_hex(k.trace_id, 16), _hex(k.span_id, 8), _attributes(k.attributes), k.trace_state)
            for k in span.links
        ],
        status_code=Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        status_message=span.status.message,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        scope=scope,
        resource=resource,
        trace_state=span.trace_state,
        flags=span.flags,
    )


def _metric(metric: Metric, scope: Scope, resource: Attributes) -> ReceivedMetric:
    kind = metric.WhichOneof("data")
    if kind is None:
        raise ValueError(f"metric {metric.name!r} has no data")
    data = getattr(metric, kind)
    temporality = getattr(data, "aggregation_temporality", 0)
    return ReceivedMetric(
        name=metric.name,
        type=kind,
        unit=metric.unit,
        points=[_point(point) for point in data.data_points],
        resource=resource,
        scope=scope,
        description=metric.description,
        temporality=AggregationTemporality.Name(temporality).removeprefix("AGGREGATION_TEMPORALITY_")
        if temporality
        else "",
        monotonic=getattr(data, "is_monotonic", False),
    )


def _point(point: AnyPoint) -> ReceivedPoint:
    attributes = _attributes(point.attributes)
    start, time = point.start_time_unix_nano, point.time_unix_nano
    if isinstance(point, SummaryDataPoint):
        quantiles = {q.quantile: q.value for q in point.quantile_values}
        return ReceivedPoint(attributes, start, time, sum=point.sum, count=point.count, quantiles=quantiles)
    exemplars = [
        ReceivedExemplar(
            value=e.as_int if e.WhichOneof("value") == "as_int" else e.as_double,
            trace_id=_hex(e.trace_id, 16, optional=True),
            span_id=_hex(e.span_id, 8, optional=True),
            attributes=_attributes(e.filtered_attributes),
        )
        for e in point.exemplars
    ]
    if isinstance(point, NumberDataPoint):
        which = point.WhichOneof("value")
        value = getattr(point, which) if which else None
        return ReceivedPoint(attributes, start, time, value=value, exemplars=exemplars)
    exponential = isinstance(point, ExponentialHistogramDataPoint)
    return ReceivedPoint(
        attributes,
        start,
        time,
        sum=point.sum if point.HasField("sum") else None,
        count=point.count,
        min=point.min if point.HasField("min") else None,
        max=point.max if point.HasField("max") else None,
        bucket_counts=list(point.positive.bucket_counts if exponential else point.bucket_counts),
        bounds=[] if exponential else list(point.explicit_bounds),
        scale=point.scale if exponential else None,
        offset=point.positive.offset if exponential else 0,
        zero_count=point.zero_count if exponential else 0,
        exemplars=exemplars,
    )


def _log(record: LogRecord, scope: Scope, resource: Attributes) -> ReceivedLog:
    return ReceivedLog(
        body=_value(record.body),
        severity=record.severity_number,
        severity_text=record.severity_text,
        attributes=_attributes(record.attributes),
        trace_id=_hex(record.trace_id, 16, optional=True),
        span_id=_hex(record.span_id, 8, optional=True),
        resource=resource,
        event_name=getattr(record, "event_name", ""),  # opentelemetry-proto 1.30 has none
        scope=scope,
        time=record.time_unix_nano,
        observed_time=record.observed_time_unix_nano,
    )


def _scope(scope: InstrumentationScope, schema_url: str) -> Scope:
    return Scope(scope.name, scope.version, schema_url, _attributes(scope.attributes))


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind)


def _hex(raw: bytes, size: int, *, optional: bool = False) -> str:
    if (raw and len(raw) == size and any(raw)) or (optional and not raw):
        return raw.hex()
    raise ValueError(f"an id must be {size} bytes, not all zero: {raw.hex()!r}")


def _with_binary_ids(node: Any) -> Any:
    """OTLP/JSON writes trace and span ids in hex where protobuf's JSON expects base64."""
    if isinstance(node, list):
        return [_with_binary_ids(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode()
        if key in JSON_ID_FIELDS and isinstance(item, str)
        else _with_binary_ids(item)
        for key, item in node.items()
    }
