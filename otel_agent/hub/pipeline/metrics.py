"""Measurements of all workers, replayed into one SDK MeterProvider: readers, views and exemplars are the SDK's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_agent import wire

from .genai import Names, Target
from .series import Cell, Family

Recorder = Callable[[wire.Measurement], None]
Last = dict[tuple[int, int], "int | float"]
REMEMBERED = 256  # ended connections whose last absolute values are kept, in case the worker connects again
KINDS = frozenset(
    f"{prefix}{kind}" for prefix in ("", "observable_") for kind in ("counter", "updowncounter", "gauge")
) | {"histogram"}
_NO_CONTEXT = Context()
_log = logging.getLogger(__name__)


class Metrics:
    """The MeterProvider and one family of series per instrument."""

    def __init__(self, resource: dict[str, Any], readers: Sequence[MetricReader], names: Names) -> None:
        self.provider = MeterProvider(readers, Resource(resource), shutdown_on_exit=False)
        self.names = names
        self.received = 0
        self._families: dict[tuple[str, ...], Family | None] = {}
        self._slots: set[int] = set()
        self._last: dict[bytes, Last] = {}

    def meter(self, name: str, version: str = "", schema_url: str = "") -> Meter:
        """The meter of an instrumentation scope."""
        return self.provider.get_meter(name, version, schema_url)

    def worker(self, worker_id: bytes) -> WorkerMetrics:
        """The state of a new connection."""
        slot = 0
        while slot in self._slots:
            slot += 1
        self._slots.add(slot)
        return WorkerMetrics(self, slot, worker_id, self._last.pop(worker_id, {}))

    def release(self, worker: WorkerMetrics) -> None:
        """A connection has ended: its slot is free, its absolute values are remembered for a while."""
        self._slots.discard(worker.slot)
        if worker.last:
            self._last[worker.worker_id] = worker.last
            if len(self._last) > REMEMBERED:
                del self._last[next(iter(self._last))]

    def has(self, name: str) -> bool:
        """Whether anything was recorded with the instrument `name`."""
        return any(key[4] == name and family is not None and family.cells for key, family in self._families.items())

    def family(self, definition: wire.DefineInstrument) -> Family | None:
        """The series of an instrument, made once for all workers; None, logged, when the SDK refuses it."""
        kind = definition.kind.removeprefix("observable_")
        name = definition.name.lower()
        key = (definition.scope, definition.scope_version, definition.schema_url, kind, name, definition.unit)
        if key not in self._families:
            self._families[key] = self._make(kind, definition) if definition.kind in KINDS else None
        return self._families[key]

    def _make(self, kind: str, definition: wire.DefineInstrument) -> Family | None:
        meter = self.meter(definition.scope, definition.scope_version, definition.schema_url)
        name, unit, description = definition.name, definition.unit, definition.description
        family = Family()
        try:
            if kind == "histogram":
                family.histogram = meter.create_histogram(
                    name, unit, description, explicit_bucket_boundaries_advisory=definition.buckets
                )
            elif kind == "counter":
                meter.create_observable_counter(name, [family.observe], unit, description)
            elif kind == "updowncounter":
                meter.create_observable_up_down_counter(name, [family.observe], unit, description)
            else:
                meter.create_observable_gauge(name, [family.observe], unit, description)
        except Exception as error:  # noqa: BLE001  the SDK raises plain Exception for a name or unit it refuses
            _log.warning("instrument %r is left out: %s", name, error)
            return None
        return family


class WorkerMetrics:
    """What one connection has defined and left: numbered instruments and attribute sets, residues, last values."""

    def __init__(self, metrics: Metrics, slot: int, worker_id: bytes, last: Last) -> None:
        self._metrics = metrics
        self.slot = slot
        self.worker_id = worker_id
        self.last = last
        self._instruments: dict[int, wire.DefineInstrument] = {}
        self._attributes: dict[int, dict[str, Any]] = {}
        self._recorders: dict[tuple[int, int], Recorder] = {}
        self._residues: list[tuple[Cell, Cell]] = []
        self._gauges: list[tuple[Family, Any]] = []
        self._ids = (b"", b"")
        self._context = _NO_CONTEXT

    def define_instrument(self, definition: wire.DefineInstrument) -> None:
        """Note an instrument."""
        self._instruments[definition.id] = definition

    def define_attributes(self, definition: wire.DefineAttributes) -> None:
        """Note an attribute set."""
        self._attributes[definition.id] = definition.attributes

    def record(self, measurement: wire.Measurement) -> None:
        """Record one measurement; ids without definition and values that are no finite number are left out."""
        self._metrics.received += 1
        key = (measurement.instrument, measurement.attributes)
        recorder = self._recorders.get(key)
        if recorder is None:
            recorder = self._recorders[key] = self._prepare(key)
        if -inf < measurement.value < inf:
            recorder(measurement)

    def end(self) -> None:
        """Take back what the worker had added up and down, and drop its gauges."""
        for shared, own in self._residues:
            shared.value -= own.value
        for family, key in self._gauges:
            family.cells.pop(key, None)
        self._recorders.clear()
        self._metrics.release(self)

    def _prepare(self, key: tuple[int, int]) -> Recorder:
        definition = self._instruments.get(key[0])
        attributes = self._attributes.get(key[1])
        if definition is None or attributes is None:
            return _ignore
        names = self._metrics.names
        attributes = names.attributes(attributes)
        recorders = [self._bind(target, attributes, key) for target in names.targets(definition)]
        if len(recorders) == 1:
            return recorders[0]
        first, second = recorders

        def record_both(measurement: wire.Measurement) -> None:
            first(measurement)
            second(measurement)

        return record_both

    def _bind(self, target: Target, attributes: dict[str, Any], key: tuple[int, int]) -> Recorder:
        family = self._metrics.family(target.definition)
        if family is None:
            return _ignore
        if target.more:
            attributes = {**attributes, **dict(target.more)}
        kind = target.definition.kind
        if kind == "histogram":
            return self._histogram(family, attributes, target.known_only)
        if kind.endswith("gauge"):
            return self._gauge(family, attributes)
        _, cell = family.cell(attributes)
        if kind == "counter":
            return _counter(cell)
        if kind == "updowncounter":
            return self._up_down(cell)
        return self._absolute(cell, key, kind == "observable_counter")

    def _histogram(self, family: Family, attributes: dict[str, Any], known_only: bool) -> Recorder:
        _, cell = family.cell(attributes)
        record, attributes, context_of = family.histogram.record, cell.attributes, self._context_of

        def histogram(measurement: wire.Measurement) -> None:
            if measurement.value or not known_only:
                record(measurement.value, attributes, context_of(measurement))

        return histogram

    def _context_of(self, measurement: wire.Measurement) -> Context:
        """The context that makes a measurement an exemplar; neighbours mostly share their span."""
        ids = (measurement.trace_id, measurement.span_id)
        if ids != self._ids:
            self._ids = ids
            trace, span = int.from_bytes(ids[0], "big"), int.from_bytes(ids[1], "big")
            if trace and span:
                parent = NonRecordingSpan(SpanContext(trace, span, True, TraceFlags(TraceFlags.SAMPLED)))
                self._context = set_span_in_context(parent, _NO_CONTEXT)
            else:
                self._context = _NO_CONTEXT
        return self._context

    def _gauge(self, family: Family, attributes: dict[str, Any]) -> Recorder:
        key, cell = family.cell(attributes, self.slot)
        self._gauges.append((family, key))

        def gauge(measurement: wire.Measurement) -> None:
            cell.value = measurement.value

        return gauge

    def _up_down(self, cell: Cell) -> Recorder:
        own = Cell({})
        self._residues.append((cell, own))

        def up_down(measurement: wire.Measurement) -> None:
            cell.value += measurement.value
            own.value += measurement.value

        return up_down

    def _absolute(self, cell: Cell, key: tuple[int, int], monotonic: bool) -> Recorder:
        """Observable sums say their total; the change since the last one is added."""
        last = self.last if monotonic else {}  # up-down totals are taken back, so they begin at 0 again
        own = Cell({})
        if not monotonic:
            self._residues.append((cell, own))

        def absolute(measurement: wire.Measurement) -> None:
            change = measurement.value - last.get(key, 0)
            if monotonic and change < 0:
                change = measurement.value if measurement.value > 0 else 0  # the app began a new count
            last[key] = measurement.value
            cell.value += change
            own.value += change

        return absolute


def _counter(cell: Cell) -> Recorder:
    def counter(measurement: wire.Measurement) -> None:
        if measurement.value > 0:
            cell.value += measurement.value

    return counter


def _ignore(measurement: wire.Measurement) -> None:
    """For what was never defined, or what the SDK refuses."""
