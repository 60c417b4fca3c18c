"""What differs between traces, metrics and logs in OTLP, as data (opentelemetry-proto, collector/*/v1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Signal:
    """`record` is its name in our counters; `path` the repeated fields from the request down to one record (one
    metric, for metrics); `rejected` the field of its response's `partial_success`."""

    record: str
    path: tuple[str, str, str]
    request: type[Any]
    response: type[Any]
    rejected: str
    method: str


SIGNALS: dict[str, Signal] = {
    "traces": Signal(
        "span",
        ("resource_spans", "scope_spans", "spans"),
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
        "rejected_spans",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    ),
    "metrics": Signal(
        "metric",
        ("resource_metrics", "scope_metrics", "metrics"),
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
        "rejected_data_points",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    ),
    "logs": Signal(
        "log",
        ("resource_logs", "scope_logs", "log_records"),
        ExportLogsServiceRequest,
        ExportLogsServiceResponse,
        "rejected_log_records",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    ),
}


def count(signal: str, request: Any) -> int:
    """Records in a request: spans, log records, data points."""
    resources, scopes, items = SIGNALS[signal].path
    total = 0
    for resource in getattr(request, resources):
        for scope in getattr(resource, scopes):
            records = getattr(scope, items)
            total += sum(map(_points, records)) if signal == "metrics" else len(records)
    return total


def halves(signal: str, request: Any) -> tuple[Any, Any] | None:
    """Two requests with the first and the second half of the records (of the metrics, for metrics), in their order
    and below copies of their resources and scopes; None when there is only one."""
    kind = SIGNALS[signal]
    resources, scopes, items = kind.path
    total = sum(len(getattr(s, items)) for r in getattr(request, resources) for s in getattr(r, scopes))
    if total < 2:
        return None
    first, second = kind.request(), kind.request()
    first.CopyFrom(request)
    second.CopyFrom(request)
    _keep(first, kind.path, 0, total // 2)
    _keep(second, kind.path, total // 2, total)
    return first, second


def _points(metric: Any) -> int:
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 0


def _keep(request: Any, path: tuple[str, str, str], start: int, end: int) -> None:
    """Delete all records but those at [start, end) of the whole request, and the groups that become empty."""
    resources, scopes, items = path
    position = 0
    for resource in getattr(request, resources):
        for scope in getattr(resource, scopes):
            records = getattr(scope, items)
            size = len(records)
            del records[max(end - position, 0) :]
            del records[: max(start - position, 0)]
            position += size
        _prune(getattr(resource, scopes), items)
    _prune(getattr(request, resources), scopes)


def _prune(groups: Any, field: str) -> None:
    for index in range(len(groups) - 1, -1, -1):
        if not getattr(groups[index], field):
            del groups[index]
