"""Metrics: the SDK's reader collects, upstream's encoder encodes, our outbox queues."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation

from otel_agent.hub.export import clean
from otel_agent.hub.export.outbox import Outbox
from otel_agent.hub.export.signals import count
from otel_agent.hub.export.tally import Tally

_ALL = (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter, ObservableGauge)
# Specification, "OTLP Metrics Exporter", OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE.
_DELTA: dict[str, tuple[type, ...]] = {
    "cumulative": (),
    "delta": (Counter, Histogram, ObservableCounter),
    "lowmemory": (Counter, Histogram),
}


def temporality(preference: str) -> dict[type, AggregationTemporality]:
    """Temporality by kind of instrument, for cumulative, delta or lowmemory."""
    delta = _DELTA[preference]
    return {kind: AggregationTemporality.DELTA if kind in delta else AggregationTemporality.CUMULATIVE for kind in _ALL}


def aggregation(histogram: str) -> dict[type, Aggregation]:
    """Aggregation of histograms, for explicit_bucket_histogram or base2_exponential_bucket_histogram."""
    if histogram == "base2_exponential_bucket_histogram":
        return {Histogram: ExponentialBucketHistogramAggregation()}
    return {}  # the SDK's default, which honours the instrument's own boundaries in every version


class OutboxMetricExporter(MetricExporter):
    """A MetricExporter that queues: `export` succeeds when the data is queued, sending is the sender's."""

    def __init__(self, outbox: Outbox, tally: Tally, preference: str, histogram: str) -> None:
        super().__init__(temporality(preference), aggregation(histogram))
        self._outbox = outbox
        self._tally = tally

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> MetricExportResult:
        """Encode and queue all data points; those that no cleaning could make valid are counted."""
        metrics_data = cleaned(metrics_data)
        self._tally.accept("metric", sum(_points(metric) for _, _, metric in _walk(metrics_data)))
        try:
            message = encode_metrics(metrics_data)
        except Exception:  # noqa: BLE001  the encoder has no error class; one bad metric must not cost the others
            message = encode_metrics(_filtered(metrics_data, self._encodes))
        self._outbox.put(message)
        self._tally_lost(metrics_data, count("metrics", message))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Nothing is held here."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        """Nothing is held here."""

    def _encodes(self, data: MetricsData) -> bool:
        try:
            encode_metrics(data)
        except Exception:  # noqa: BLE001  see export
            return False
        return True

    def _tally_lost(self, data: MetricsData, encoded: int) -> None:
        lost = sum(_points(metric) for _, _, metric in _walk(data)) - encoded
        self._tally.drop("metric", "encode_error", max(lost, 0))


def cleaned(data: MetricsData) -> MetricsData:
    """The same data, with values OTLP cannot carry made into ones it can; the same object when there are none.

    Needed before the encoder: upstream's leaves out an attribute it cannot encode and writes a traceback to the log.
    """
    if all(_fits(metric) for _, _, metric in _walk(data)):
        return data
    return _mapped(data, _clean_metric)


def _walk(data: MetricsData) -> Iterator[tuple[Any, Any, Metric]]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield resource, scope, metric


def _points(metric: Metric) -> int:
    return len(metric.data.data_points)


def _mapped(data: MetricsData, change: Callable[[Metric], Metric]) -> MetricsData:
    return MetricsData(
        [
            dataclasses.replace(
                resource,
                scope_metrics=[
                    dataclasses.replace(scope, metrics=[change(metric) for metric in scope.metrics])
                    for scope in resource.scope_metrics
                ],
            )
            for resource in data.resource_metrics
        ]
    )


def _filtered(data: MetricsData, keep: Callable[[MetricsData], bool]) -> MetricsData:
    """Only the metrics that `keep` takes, each shown to it alone."""
    resources = []
    for resource in data.resource_metrics:
        scopes = []
        for scope in resource.scope_metrics:
            alone = [dataclasses.replace(scope, metrics=[metric]) for metric in scope.metrics]
            kept = [
                one.metrics[0]
                for one in alone
                if keep(MetricsData([dataclasses.replace(resource, scope_metrics=[one])]))
            ]
            scopes.append(dataclasses.replace(scope, metrics=kept))
        resources.append(dataclasses.replace(resource, scope_metrics=scopes))
    return MetricsData(resources)


def _fits(metric: Metric) -> bool:
    return all(_fits_value(text) for text in (metric.name, metric.description, metric.unit)) and all(
        _fits_value(getattr(point, "value", None))
        and _fits_attributes(point.attributes)
        and all(_fits_attributes(e.filtered_attributes) and _fits_value(e.value) for e in point.exemplars)
        for point in metric.data.data_points
    )


def _fits_attributes(attributes: Any) -> bool:
    return not attributes or all(_fits_value(key) and _fits_value(value) for key, value in attributes.items())


def _fits_value(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() or clean.text(value) == value
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    if value is None or isinstance(value, float | bytes):
        return True
    return isinstance(value, list | tuple) and all(_fits_value(item) for item in value)


def _clean_metric(metric: Metric) -> Metric:
    points = [_clean_point(point) for point in metric.data.data_points]
    return Metric(
        name=clean.text(metric.name),
        description=clean.text(metric.description or ""),
        unit=clean.text(metric.unit or ""),
        data=dataclasses.replace(metric.data, data_points=points),  # type: ignore[arg-type]  # a union of kinds
    )


def _clean_point(point: Any) -> Any:
    exemplars = [
        dataclasses.replace(
            exemplar,
            filtered_attributes=clean.attributes(dict(exemplar.filtered_attributes or {})),
            value=_number(exemplar.value),
        )
        for exemplar in point.exemplars
    ]
    changed: dict[str, Any] = {"attributes": clean.attributes(dict(point.attributes or {})), "exemplars": exemplars}
    if hasattr(point, "value"):
        changed["value"] = _number(point.value)
    return dataclasses.replace(point, **changed)


def _number(value: float) -> float:
    """A measured value that fits; integers beyond 64 bit become floats."""
    if _fits_value(value):
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
