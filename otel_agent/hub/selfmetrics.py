"""The agent's metrics about itself (RELIABILITY section 3). Labels are fixed words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from .intake import Intake
from .pipeline.worker import Pipeline

Read = Callable[[CallbackOptions], Iterable[Observation]]


def instrument(meter: Meter, intake: Intake, pipeline: Pipeline, exports: Callable[[], Mapping[str, Any]]) -> None:
    """Register the instruments; `exports` gives counts by signal and destination."""
    counter, up_down = meter.create_observable_counter, meter.create_observable_up_down_counter
    totals = pipeline.totals
    counter("otel_agent.records.produced", [_by_signal(lambda: totals.produced)], "{record}", "Made by workers.")
    counter("otel_agent.records.received", [_by_signal(pipeline.received)], "{record}", "Received by the hub.")
    counter("otel_agent.records.dropped", [_dropped(totals.dropped)], "{record}", "Dropped by workers.")
    counter("otel_agent.frames.rejected", [_by("reason", lambda: intake.rejected)], "{frame}", "Not taken.")
    up_down("otel_agent.workers.connected", [lambda _: [Observation(pipeline.connected)]], "{worker}", "Connected.")
    counter("otel_agent.process.exits", [_by("reason", lambda: pipeline.exits)], "{exit}", "Ends of the app.")
    for state in ("exported", "dropped"):
        name = f"otel_agent.export.{'records' if state == 'exported' else state}"
        counter(name, [_exports(exports, state)], "{record}", f"Records {state} by destination.")
    up_down("otel_agent.export.queue.records", [_exports(exports, "queued")], "{record}", "Records that wait.")


def _by(key: str, read: Callable[[], Mapping[str, int]]) -> Read:
    return lambda _: [Observation(value, {key: name}) for name, value in dict(read()).items()]


def _by_signal(read: Callable[[], Mapping[str, int]]) -> Read:
    return _by("signal", read)


def _dropped(dropped: Mapping[str, int]) -> Read:
    def read(options: CallbackOptions) -> Iterable[Observation]:
        for name, value in dict(dropped).items():
            signal, _, reason = name.partition(":")
            yield Observation(value, {"signal": signal, "stage": "worker", "reason": reason})

    return read


def _exports(counts: Callable[[], Mapping[str, Any]], state: str) -> Read:
    def read(options: CallbackOptions) -> Iterable[Observation]:
        for signal, destinations in counts().items():
            for destination, one in destinations.items():
                attributes = {"signal": signal, "destination": destination}
                if state == "dropped":
                    for reason, value in one[state].items():
                        yield Observation(value, {**attributes, "reason": reason})
                else:
                    yield Observation(one[state], attributes)

    return read
