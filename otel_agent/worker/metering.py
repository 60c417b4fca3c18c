"""MeterProvider, Meter and instruments over the channel: measurements travel, aggregation is the hub's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import metrics, trace

from otel_agent import settings, wire
from otel_instrumentors import guard

from . import native, values
from .channel import Channel
from .span import Span

SERIES_LIMIT = 2000
OVERFLOW = {"otel.metric.overflow": True}
Callback = Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]


class _Recorder:
    """What all instruments share: an id on the wire and numbered attribute sets."""

    def __init__(self, meter: Meter, kind: str, name: str, unit: str, description: str, buckets: Any = None) -> None:
        self.provider = meter.provider
        self.channel = meter.provider.channel
        self._never_negative = kind in ("counter", "histogram")
        self._sets: dict[Any, int] = {}
        self.id = next(self.channel.ids)
        self.definition = wire.DefineInstrument(
            self.id,
            kind,
            str(name)[: values.MAX_KEY],
            str(unit or "")[:63],
            str(description or "")[: values.MAX_NAME],
            tuple(float(bucket) for bucket in buckets) if buckets else None,
            meter.name,
            str(meter.version or ""),
            str(meter.schema_url or ""),
        )
        self.channel.definitions.append(self.definition)

    def measure(self, amount: float, attributes: Any = None, context: context_api.Context | None = None) -> None:
        """Record `amount` with `attributes`; the span of `context`, if it is sampled, becomes the exemplar."""
        if amount.__class__ is not float and amount.__class__ is not int:
            number = _number(amount)
            if number is None:
                return
            amount = number
        if amount < 0 and self._never_negative:
            return
        try:
            number_of_set = self._sets[tuple(attributes.items()) if attributes else ()]
        except (KeyError, TypeError, AttributeError):
            number_of_set = self._define(attributes)
        span = trace.get_current_span(context)
        if span.__class__ is Span:
            measurement = wire.Measurement(self.id, number_of_set, amount, span.trace_bytes, span.span_bytes)
        else:
            measurement = wire.Measurement(self.id, number_of_set, amount)
        self.channel.send_soon(measurement)

    def _define(self, attributes: Any) -> int:
        clean, _ = values.attributes(attributes, 128, 1024)
        key: Any = tuple(clean.items())
        try:
            hash(key)
        except TypeError:
            key = repr(key)
        known = self._sets.get(key)
        if known is not None:
            return known
        if len(self._sets) >= SERIES_LIMIT:
            key, clean = ("overflow",), OVERFLOW
            known = self._sets.get(key)
            if known is not None:
                return known
        number = next(self.channel.ids)
        self.channel.definitions.append(wire.DefineAttributes(number, clean))
        self._sets[key] = number
        return number


def _number(amount: Any) -> float | int | None:
    if isinstance(amount, bool) or not hasattr(amount, "__float__"):
        return None
    try:
        return int(amount) if isinstance(amount, int) else float(amount)
    except (TypeError, ValueError, OverflowError):
        return None


class _Instrument:
    """Mixin of the synchronous instruments."""

    def __init__(self, recorder: _Recorder) -> None:
        self.recorder = recorder


class Counter(_Instrument, metrics.Counter):
    """A sum that only grows; negative amounts are ignored."""

    def add(self, amount: float, attributes: Any = None, context: context_api.Context | None = None) -> None:
        """Add `amount`."""
        self.recorder.measure(amount, attributes, context)


class UpDownCounter(_Instrument, metrics.UpDownCounter):
    """A sum that grows and shrinks; the hub takes it back when the process ends."""

    def add(self, amount: float, attributes: Any = None, context: context_api.Context | None = None) -> None:
        """Add `amount`, which may be negative."""
        self.recorder.measure(amount, attributes, context)


class Histogram(_Instrument, metrics.Histogram):
    """A distribution."""

    def record(self, amount: float, attributes: Any = None, context: context_api.Context | None = None) -> None:
        """Record one value; negative ones are ignored."""
        self.recorder.measure(amount, attributes, context)


class Gauge(_Instrument, metrics._Gauge):
    """A value that is, not one that adds up."""

    def set(self, amount: float, attributes: Any = None, context: context_api.Context | None = None) -> None:
        """Set the current value."""
        self.recorder.measure(amount, attributes, context)


class _Observable:
    """Mixin of the observable instruments: callbacks, read by the provider's thread."""

    def __init__(self, recorder: _Recorder, callbacks: Sequence[Any] | None) -> None:
        self.recorder = recorder
        self.callbacks = [_callback(callback) for callback in callbacks or ()]

    def observe(self) -> None:
        """Call the callbacks and record what they say; a callback's exception is reported, not raised."""
        for callback in self.callbacks:
            try:
                for observation in callback(metrics.CallbackOptions()):
                    self.recorder.measure(observation.value, observation.attributes)
            except Exception as error:  # noqa: BLE001  the callback is the app's code, run by our thread
                if not guard.strict:
                    guard.fault(f"callback of {self.recorder.definition.name}", error)


def _callback(callback: Any) -> Callback:
    if callable(callback):
        made: Callback = callback
        return made
    generator = callback  # the API also takes a generator that yields lists of observations
    next(generator)

    def step(options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        return list(generator.send(options))

    return step


class ObservableCounter(_Observable, metrics.ObservableCounter):
    """A sum the app reports as its current total."""


class ObservableUpDownCounter(_Observable, metrics.ObservableUpDownCounter):
    """A sum that may shrink, reported as its current total."""


class ObservableGauge(_Observable, metrics.ObservableGauge):
    """A current value."""


class Meter(metrics.Meter):
    """Makes instruments of one instrumentation scope; the same name gives the same instrument."""

    def __init__(self, provider: MeterProvider, name: str, version: str | None, schema_url: str | None) -> None:
        super().__init__(name, version, schema_url)
        self.provider = provider
        self._made: dict[tuple[str, str], Any] = {}

    def _make(self, cls: Any, kind: str, name: str, unit: str, description: str, buckets: Any = None) -> Any:
        key = (kind, str(name).lower())
        made = self._made.get(key)
        if made is None:
            recorder = _Recorder(self, kind, name, unit, description, buckets)
            made = self._made[key] = cls(recorder)
            self.provider.adopt(self, made)
        return made

    def _observe(self, cls: Any, kind: str, name: str, callbacks: Any, unit: str, description: str) -> Any:
        made = cls(_Recorder(self, f"observable_{kind}", name, unit, description), callbacks)
        self.provider.adopt(self, made)
        return made

    def create_counter(self, name: str, unit: str = "", description: str = "") -> metrics.Counter:
        """A Counter."""
        made: Counter = self._make(Counter, "counter", name, unit, description)
        return made

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> metrics.UpDownCounter:
        """An UpDownCounter."""
        made: UpDownCounter = self._make(UpDownCounter, "updowncounter", name, unit, description)
        return made

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> metrics.Histogram:
        """A Histogram; the advice gives its bucket boundaries."""
        buckets = explicit_bucket_boundaries_advisory
        made: Histogram = self._make(Histogram, "histogram", name, unit, description, buckets)
        return made

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> Any:
        """A Gauge."""
        return self._make(Gauge, "gauge", name, unit, description)

    def create_observable_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableCounter:
        """An ObservableCounter."""
        made: ObservableCounter = self._observe(ObservableCounter, "counter", name, callbacks, unit, description)
        return made

    def create_observable_up_down_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableUpDownCounter:
        """An ObservableUpDownCounter."""
        made: ObservableUpDownCounter = self._observe(
            ObservableUpDownCounter, "updowncounter", name, callbacks, unit, description
        )
        return made

    def create_observable_gauge(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableGauge:
        """An ObservableGauge."""
        made: ObservableGauge = self._observe(ObservableGauge, "gauge", name, callbacks, unit, description)
        return made


class MeterProvider(metrics.MeterProvider):
    """The global MeterProvider of a process under the agent."""

    def __init__(self, configured: settings.Settings, channel: Channel) -> None:
        self.channel = channel
        self.interval = configured.seconds("OTEL_AGENT_METRIC_INTERVAL")
        self._meters: dict[Any, Meter] = {}
        self._observables: list[_Observable] = []
        self._adopted: list[tuple[Meter, Any]] = []
        self._delegate: metrics.MeterProvider | None = None
        self._threads = 0
        self._stopping = False
        channel.on_first_send = self.resume

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> metrics.Meter:
        """The meter of an instrumentation scope."""
        key = (str(name or ""), version, schema_url)
        meter = self._meters.get(key)
        if meter is None:
            meter = self._meters[key] = Meter(self, *key)
        return meter

    def adopt(self, meter: Meter, instrument: Any) -> None:
        """Note a new instrument."""
        self._adopted.append((meter, instrument))
        if self._delegate is not None:
            self._delegate_one(meter, instrument)
        elif isinstance(instrument, _Observable):
            self._observables.append(instrument)
            self.resume()

    def step_aside(self, provider: metrics.MeterProvider) -> None:
        """From now on every measurement goes to the app's own provider."""
        self._delegate = provider
        self._observables.clear()
        for meter, instrument in self._adopted:
            self._delegate_one(meter, instrument)

    def _delegate_one(self, meter: Meter, instrument: Any) -> None:
        assert self._delegate is not None
        theirs = self._delegate.get_meter(meter.name, meter.version, meter.schema_url)
        given = instrument.recorder.definition
        make = getattr(theirs, "create_" + given.kind.replace("updown", "up_down_"))
        named = {"name": given.name, "unit": given.unit, "description": given.description}
        if isinstance(instrument, _Observable):
            named["callbacks"] = instrument.callbacks
        elif given.buckets:
            named["explicit_bucket_boundaries_advisory"] = given.buckets
        made = make(**named)
        for method in ("add", "record", "set"):
            if hasattr(made, method):
                instrument.recorder.measure = getattr(made, method)

    # the thread that reads observable instruments

    def resume(self) -> None:
        """Start the thread if there is something to observe."""
        if self._observables and not self._threads and not self._stopping:
            self._threads += 1
            try:
                native.start_new_thread(self._observe_for_ever, (os.getpid(),))
            except RuntimeError:  # no more threads, or the interpreter is ending
                self._threads -= 1

    def _observe_for_ever(self, pid: int) -> None:
        due = native.monotonic() + min(self.interval, 0.1)
        while not self._stopping and os.getpid() == pid:
            if native.monotonic() >= due:
                due = native.monotonic() + self.interval
                self.observe()
            native.sleep(0.02)
        self._threads -= 1

    def observe(self) -> None:
        """Read every observable instrument once."""
        for observable in list(self._observables):
            observable.observe()

    def stop(self) -> None:
        """Let the thread end, for at most 25 ms (a fork is due)."""
        self._stopping = True
        until = native.monotonic() + 0.025
        while self._threads and native.monotonic() < until:
            native.sleep(0.001)
        self._stopping = False

    def after_fork_in_child(self) -> None:
        """The thread is gone; it comes back with this process's first record."""
        self._threads = 0
        self._stopping = False

    def close(self) -> None:
        """One last reading at the end of the process."""
        if self._observables:
            self.observe()
            self._stopping = True

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Read observables and hand over what waits."""
        self.observe()
        self.channel.flush()
        return True

    def shutdown(self, timeout_millis: float = 30_000) -> None:
        """As force_flush; our path stays open until the process ends."""
        self.force_flush()
