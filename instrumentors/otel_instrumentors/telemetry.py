"""Tracer and instruments of one library's instrumentation scope, made at first use.

Instrumentors speak to the global OpenTelemetry providers; tests hand in their own with `use`.
"""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakSet

from opentelemetry import _logs, metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram, MeterProvider, UpDownCounter
from opentelemetry.trace import Tracer, TracerProvider

from . import __name__ as package
from .semconv import SCHEMA_URL, Instrument

_all: WeakSet[Telemetry] = WeakSet()
_tracer_provider: TracerProvider | None = None
_meter_provider: MeterProvider | None = None
_logger_provider: _logs.LoggerProvider | None = None


class Telemetry:
    """What an adapter or a family's lifecycle records with. `scope` ends the name of the instrumentation scope."""

    def __init__(self, scope: str) -> None:
        self.scope = f"{package}.{scope}"
        self._tracer: Tracer | None = None
        self._logger: _logs.Logger | None = None
        self._instruments: dict[str, Any] = {}
        _all.add(self)

    @property
    def tracer(self) -> Tracer:
        """The tracer of this scope."""
        tracer = self._tracer
        if tracer is None:
            tracer = self._tracer = trace.get_tracer(
                self.scope, tracer_provider=_tracer_provider, schema_url=SCHEMA_URL
            )
        return tracer

    def histogram(self, instrument: Instrument) -> Histogram:
        """The histogram declared by `instrument`, with its bucket advice."""
        found: Histogram = self._instruments.get(instrument.name) or self._make(instrument)
        return found

    def counter(self, instrument: Instrument) -> Counter:
        """The monotonic counter declared by `instrument`."""
        found: Counter = self._instruments.get(instrument.name) or self._make(instrument)
        return found

    def up_down_counter(self, instrument: Instrument) -> UpDownCounter:
        """The up-down counter declared by `instrument`."""
        found: UpDownCounter = self._instruments.get(instrument.name) or self._make(instrument)
        return found

    def warn(self, event: str, attributes: dict[str, Any], context: Context | None) -> None:
        """Emit the log event `event` at severity WARN, belonging to the span of `context`."""
        if self._logger is None:
            self._logger = _logs.get_logger(self.scope, logger_provider=_logger_provider, schema_url=SCHEMA_URL)
        severity = _logs.SeverityNumber.WARN
        # The keywords are those of API 1.35 and later; before, records had no event name and no context.
        record = _logs.LogRecord(
            timestamp=time.time_ns(),
            context=context,
            severity_number=severity,
            severity_text="WARN",
            attributes=attributes,
            event_name=event,
        )
        self._logger.emit(record)

    def _make(self, instrument: Instrument) -> Any:
        meter = metrics.get_meter(self.scope, meter_provider=_meter_provider, schema_url=SCHEMA_URL)
        made: Any
        if instrument.kind == "histogram":
            made = meter.create_histogram(
                instrument.name,
                instrument.unit,
                instrument.description,
                explicit_bucket_boundaries_advisory=instrument.buckets,
            )
        elif instrument.kind == "counter":
            made = meter.create_counter(instrument.name, instrument.unit, instrument.description)
        else:
            made = meter.create_up_down_counter(instrument.name, instrument.unit, instrument.description)
        self._instruments[instrument.name] = made
        return made

    def _forget(self) -> None:
        self._tracer = self._logger = None
        self._instruments.clear()


def use(
    tracer_provider: TracerProvider | None,
    meter_provider: MeterProvider | None,
    logger_provider: _logs.LoggerProvider | None = None,
) -> None:
    """Record with these providers instead of the global ones; None goes back to the global ones."""
    global _tracer_provider, _meter_provider, _logger_provider
    _tracer_provider, _meter_provider, _logger_provider = tracer_provider, meter_provider, logger_provider
    for telemetry in _all:
        telemetry._forget()
