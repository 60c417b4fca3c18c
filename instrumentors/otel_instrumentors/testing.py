"""Record what instrumentors emit, as plain data with ids from 1 and a clock that ticks. For tests; needs the SDK."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from . import telemetry


class CountingIds(IdGenerator):
    """Trace and span ids 1, 2, 3, ... in the order of their making."""

    def __init__(self) -> None:
        self._spans = itertools.count(1)
        self._traces = itertools.count(1)

    def generate_span_id(self) -> int:
        """The next span id."""
        return next(self._spans)

    def generate_trace_id(self) -> int:
        """The next trace id."""
        return next(self._traces)


@dataclass(frozen=True)
class Point:
    """One metric point: `value` is the sum (of a histogram too), `count` the observations (1 for numbers)."""

    attributes: dict[str, Any]
    value: float
    count: int


class Recording:
    """Everything recorded since `recording()` began."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(id_generator=CountingIds(), shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        # Its name before SDK 1.40 is the second one.
        exporter = getattr(log_export, "InMemoryLogRecordExporter", None) or log_export.InMemoryLogExporter
        self._logs = exporter()
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(log_export.SimpleLogRecordProcessor(self._logs))

    @property
    def spans(self) -> list[ReadableSpan]:
        """Ended spans in the order of their starts."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.context.span_id)

    def span(self, name: str) -> ReadableSpan:
        """The only ended span of that name."""
        found = [span for span in self.spans if span.name == name]
        assert len(found) == 1, f"{len(found)} spans named {name!r} among {[span.name for span in self.spans]}"
        return found[0]

    @property
    def events(self) -> list[tuple[str | None, dict[str, Any]]]:
        """Log events in order: (event name, attributes)."""
        records = [data.log_record for data in self._logs.get_finished_logs()]
        return [(record.event_name, dict(record.attributes or {})) for record in records]

    def points(self, name: str) -> list[Point]:
        """All points of the metric `name`, with their current totals."""
        data = self._reader.get_metrics_data()
        points: list[Point] = []
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name != name:
                        continue
                    for point in metric.data.data_points:
                        attributes = dict(point.attributes or {})
                        if isinstance(point, NumberDataPoint):
                            points.append(Point(attributes, point.value, 1))
                        elif isinstance(point, HistogramDataPoint):
                            points.append(Point(attributes, point.sum, point.count))
        return points


@contextmanager
def recording() -> Iterator[Recording]:
    """Let instrumentors record into a `Recording` instead of the global providers."""
    result = Recording()
    telemetry.use(result.tracer_provider, result.meter_provider, result.logger_provider)
    try:
        yield result
    finally:
        telemetry.use(None, None)
        result.tracer_provider.shutdown()
        result.meter_provider.shutdown()
        result.logger_provider.shutdown()


@contextmanager
def instrumented(adapter: Any, *modules: Any) -> Iterator[Recording]:
    """Instrument `modules` with `adapter`, record, and restore the originals afterwards.

    `adapter` is an adapter module: it has `LIBRARY` (the catalog name) and `instrument(module)`.
    """
    from . import patch

    with recording() as result:
        for module in modules:
            adapter.instrument(module)
        try:
            yield result
        finally:
            patch.restore(adapter.LIBRARY)
