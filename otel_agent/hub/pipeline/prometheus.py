"""Metric data of the SDK as Prometheus families.

Upstream's PrometheusMetricReader reads; the translation to families is ours, because upstream's (0.66b1) puts values
under wrong labels when two scopes record one metric with different attributes, leaves exemplars out, and writes a
family twice when descriptions differ.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric as Family
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString as _go_float

from .naming import family_name, labels, unit_name

TARGET = "target"
# The hub does not tell its version to whoever may read /metrics (RELIABILITY S20).
UNTOLD = frozenset(("telemetry.distro.version", "telemetry.sdk.version"))
EXEMPLARS = 20_000


class Series(NamedTuple):
    """Which series a data point belongs to."""

    family: str
    labels: frozenset[tuple[str, str]]


class Reader(PrometheusMetricReader):
    """Upstream's reader; what it reads is kept as the SDK's data instead of being translated by it."""

    def __init__(self) -> None:
        super().__init__(disable_target_info=True)
        self._read: MetricsData | None = None

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        self._read = metrics_data

    def get_metrics_data(self) -> MetricsData | None:
        """The current totals of every instrument."""
        self.collect()
        read, self._read = self._read, None
        return read


class Exposition:
    """What is served at /metrics: a collector for prometheus_client's encoders."""

    def __init__(self, reader: Reader, resource: Mapping[str, Any]) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._exemplars: dict[tuple[Series, int], Exemplar] = {}
        self._target = Family(TARGET, "Target metadata", "info")
        told = {key: value for key, value in resource.items() if key not in UNTOLD}
        self._target.add_sample("target_info", labels(told), 1)

    def metrics(self) -> Iterator[tuple[InstrumentationScope, Metric]]:
        """The current totals, as the SDK's data."""
        with self._lock:
            data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    yield scope.scope, metric

    def collect(self) -> Iterable[Family]:
        """The families; a metric whose name another kind of metric has already is left out."""
        families: dict[str, Family] = {TARGET: self._target}
        seen: set[Series] = set()
        for scope, metric in self.metrics():
            kind = _kind(metric)
            name = family_name(metric.name, metric.unit or "", kind)
            kind = "gauge" if kind == "updowncounter" else kind
            family = families.get(name)
            if family is None:
                family = families[name] = Family(name, metric.description or "", kind)
                unit = unit_name(metric.unit or "")
                family.unit = unit if unit and name.endswith("_" + unit) else ""
            elif family.type != kind:
                continue
            self._fill(family, _scope_labels(scope), metric, seen)
        return families.values()

    def _fill(self, family: Family, scope: dict[str, str], metric: Metric, seen: set[Series]) -> None:
        for point in metric.data.data_points:
            named = {**labels(point.attributes or {}), **scope}
            series = Series(family.name, frozenset(named.items()))
            if series in seen:
                continue
            seen.add(series)
            if isinstance(point, NumberDataPoint):
                suffix = "_total" if family.type == "counter" else ""
                family.add_sample(family.name + suffix, named, point.value)
            elif isinstance(point, HistogramDataPoint):
                self._fill_histogram(family, named, point, series)

    def _fill_histogram(self, family: Family, named: dict[str, str], point: HistogramDataPoint, series: Series) -> None:
        self._remember(point, series)
        total = 0
        bounds = [*map(_go_float, point.explicit_bounds), "+Inf"]
        for index, (bound, count) in enumerate(zip(bounds, point.bucket_counts, strict=True)):
            total += count
            exemplar = self._exemplars.get((series, index))
            family.add_sample(family.name + "_bucket", {**named, "le": bound}, total, exemplar=exemplar)
        family.add_sample(family.name + "_count", named, point.count)
        family.add_sample(family.name + "_sum", named, point.sum)

    def _remember(self, point: HistogramDataPoint, series: Series) -> None:
        """Keep the newest exemplar of each bucket: the SDK gives each one only to the first that asks."""
        for exemplar in point.exemplars:
            if not exemplar.trace_id or not exemplar.span_id:
                continue
            index = sum(bound < exemplar.value for bound in point.explicit_bounds)
            ids = {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id:016x}"}
            if len(self._exemplars) < EXEMPLARS or (series, index) in self._exemplars:
                self._exemplars[series, index] = Exemplar(ids, exemplar.value, exemplar.time_unix_nano / 1e9)


class Selection:
    """The families of a collector that have one of the given names, or samples of these names."""

    def __init__(self, exposition: Exposition, names: Iterable[str]) -> None:
        self._exposition = exposition
        self._names = frozenset(names)

    def collect(self) -> Iterator[Family]:
        """The selected families, with the selected samples only unless the family itself was named."""
        for family in self._exposition.collect():
            if family.name in self._names:
                yield family
                continue
            samples = [sample for sample in family.samples if sample.name in self._names]
            if samples:
                part = Family(family.name, family.documentation, family.type)
                part.unit, part.samples = family.unit, samples
                yield part


def _kind(metric: Metric) -> str:
    data = metric.data
    if isinstance(data, Sum):
        return "counter" if data.is_monotonic else "updowncounter"
    if isinstance(data, Gauge):
        return "gauge"
    return "histogram" if isinstance(data, Histogram) else "unknown"


def _scope_labels(scope: InstrumentationScope) -> dict[str, str]:
    """Name and version of the scope; an empty label is the same as none."""
    given = {"otel_scope_name": scope.name or "", "otel_scope_version": scope.version or ""}
    return {key: value for key, value in given.items() if value}
