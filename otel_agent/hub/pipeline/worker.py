"""One connected worker: its records go to their signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_agent import wire

from .logs import Logs
from .metrics import Metrics
from .traces import Traces

REMEMBERED = 4096  # workers whose last totals are kept


class Totals:
    """Produced and dropped records of all processes; each says its own totals, again on every connection."""

    def __init__(self) -> None:
        self.produced: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self._last: dict[bytes, wire.Counters] = {}

    def add(self, worker_id: bytes, counters: wire.Counters) -> None:
        """Take the newest totals of one process."""
        before = self._last.pop(worker_id, None)
        self._last[worker_id] = counters
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]
        _add_change(self.produced, counters.produced, before.produced if before else {})
        _add_change(self.dropped, counters.dropped, before.dropped if before else {})


def _add_change(totals: dict[str, int], now: dict[str, int], before: dict[str, int]) -> None:
    for key, value in now.items():
        totals[key] = totals.get(key, 0) + max(value - before.get(key, 0), 0)


class Pipeline:
    """The signals, and what workers say about themselves."""

    def __init__(self, traces: Traces, metrics: Metrics | None, logs: Logs, say: Callable[[str], None]) -> None:
        self.traces = traces
        self.metrics = metrics
        self.logs = logs
        self.say = say
        self.totals = Totals()
        self.exits: dict[str, int] = {}
        self.connected = 0
        self.seen = 0

    def ended(self, code: int | None) -> None:
        """Count the end of the supervised process; `code` is None when a signal ended it."""
        reason = "signal" if code is None else "exit_nonzero" if code else "clean"
        self.exits[reason] = self.exits.get(reason, 0) + 1

    def received(self) -> dict[str, int]:
        """Records received by signal."""
        metrics = self.metrics.received if self.metrics else 0
        return {"span": self.traces.received, "metric": metrics, "log": self.logs.received}


class Worker:
    """What one connection's records are given to."""

    def __init__(self, pipeline: Pipeline, hello: wire.Hello, resource: dict[str, Any]) -> None:
        self._pipeline = pipeline
        self._resource = resource
        self._worker_id = hello.worker_id
        self._metrics = pipeline.metrics.worker(hello.worker_id) if pipeline.metrics else None
        pipeline.connected += 1
        pipeline.seen += 1

    def take(self, records: list[wire.Record]) -> None:
        """The records of one frame."""
        metrics, resource, traces = self._metrics, self._resource, self._pipeline.traces
        for record in records:
            kind = record.__class__
            if kind is wire.Measurement:
                if metrics is not None:
                    metrics.record(record)  # type: ignore[arg-type]  # mypy does not narrow by `is`
            elif kind is wire.Span:
                traces.add(resource, record)  # type: ignore[arg-type]  # the same
            else:
                self._take_rare(record)

    def _take_rare(self, record: wire.Record) -> None:
        if isinstance(record, wire.Log):
            self._pipeline.logs.add(self._resource, record)
        elif isinstance(record, wire.Counters):
            self._pipeline.totals.add(self._worker_id, record)
        elif isinstance(record, wire.Diagnostic):
            self._pipeline.say(record.text)
        elif self._metrics is None:
            return
        elif isinstance(record, wire.DefineInstrument):
            self._metrics.define_instrument(record)
        elif isinstance(record, wire.DefineAttributes):
            self._metrics.define_attributes(record)

    def end(self) -> None:
        """The connection has ended."""
        self._pipeline.connected -= 1
        if self._metrics is not None:
            self._metrics.end()
