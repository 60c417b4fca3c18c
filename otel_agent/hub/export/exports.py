"""Everything the hub needs of the export, in one object."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

from otel_agent import diagnostics, wire
from otel_agent.hub.export import encode
from otel_agent.hub.export import queue as queues
from otel_agent.hub.export.batch import CAPACITY, Batch, Limits
from otel_agent.hub.export.console import Console
from otel_agent.hub.export.destination import Destination, destinations
from otel_agent.hub.export.metrics import OutboxMetricExporter
from otel_agent.hub.export.outbox import Outbox
from otel_agent.hub.export.pacing import Pacing
from otel_agent.hub.export.queue import Queue, Row
from otel_agent.hub.export.sender import Sender
from otel_agent.hub.export.signals import SIGNALS
from otel_agent.hub.export.tally import Tally
from otel_agent.hub.export.transport import Transport
from otel_agent.settings import Settings, load


class Exports:
    """Takes records from any thread, delivers them to the destinations that `environ` names.

    Raises SettingError, a ValueError, for a bad variable. `console` is the stream of console exporters; `say` gets the
    few lines meant for people. Without destinations everything is accepted and nothing happens.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        console: TextIO,
        say: Callable[[str], None] = diagnostics.say,
        pacing: Callable[[], Pacing] = Pacing,
        queue_bytes: int = queues.MAX_BYTES,
    ) -> None:
        self._settings = load(environ)
        found = destinations(environ)
        by_signal = {signal: [d for d in found if d.signal == signal] for signal in SIGNALS}
        self._tally = Tally({SIGNALS[s].record: [d.name for d in ds] for s, ds in by_signal.items() if ds})
        self._queue = Queue(self._dropped, max_bytes=queue_bytes)
        self._outboxes = {s: Outbox(s, ds, self._queue) for s, ds in by_signal.items() if ds}
        limits = {"traces": _limits(self._settings, "BSP"), "logs": _limits(self._settings, "BLRP")}
        self._senders = [Sender(d, _transport(d, console), self._queue, self._tally, say, pacing()) for d in found]
        self._spans = self._logs = None
        if "traces" in self._outboxes:
            self._spans = Batch(self._outboxes["traces"], encode.spans, limits["traces"], self._tally)
        if "logs" in self._outboxes:
            self._logs = Batch(self._outboxes["logs"], encode.logs, limits["logs"], self._tally)
        for text in dict.fromkeys(warning for d in found for warning in d.warnings):
            say(text)
        for sender in self._senders:
            sender.start()

    @property
    def active(self) -> bool:
        """Whether there is any destination."""
        return bool(self._senders)

    def add_span(self, resource: dict[str, Any], span: wire.Span) -> None:
        """Take one span. `resource` is the same dict for all records of a worker and does not change any more."""
        if self._spans is not None:
            self._spans.add(resource, span)

    def add_log(self, resource: dict[str, Any], log: wire.Log) -> None:
        """Take one log record."""
        if self._logs is not None:
            self._logs.add(resource, log)

    def metric_readers(self) -> list[MetricReader]:
        """New readers for the hub's MeterProvider, which starts and ends them; none without a metrics destination.

        At the end: first `MeterProvider.shutdown`, which collects once more, then `drain`.
        """
        outbox = self._outboxes.get("metrics")
        if outbox is None:
            return []
        exporter = OutboxMetricExporter(
            outbox,
            self._tally,
            self._settings.text("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"),
            self._settings.text("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"),
        )
        interval = self._settings.seconds("OTEL_METRIC_EXPORT_INTERVAL") * 1000
        timeout = self._settings.seconds("OTEL_METRIC_EXPORT_TIMEOUT") * 1000
        return [PeriodicExportingMetricReader(exporter, interval, timeout)]

    def flush(self, timeout: float = 5.0) -> bool:
        """Make requests of all records taken so far; whether that was done within `timeout` seconds. Does not wait for
        their delivery."""
        until = time.monotonic() + timeout
        batches = [batch for batch in (self._spans, self._logs) if batch is not None]
        done = [batch.flush(max(until - time.monotonic(), 0)) for batch in batches]
        return all(done)

    def drain(self, deadline_seconds: float) -> int:
        """Deliver what there is, within the deadline; returns the number of records that are left.

        A destination that fails is not waited for. Records may still be added, but the end of the process is meant.
        """
        until = time.monotonic() + deadline_seconds
        self.flush(deadline_seconds)
        for sender in self._senders:
            sender.drain(until)
        while True:
            version = self._queue.version
            left = until - time.monotonic()
            if left <= 0 or all(sender.idle for sender in self._senders):
                return sum(one["queued"] for by_name in self.counts().values() for one in by_name.values())
            self._queue.wait(version, left)

    def close(self) -> None:
        """Stop the threads after what they are doing; what is queued is left."""
        for batch in (self._spans, self._logs):
            if batch is not None:
                batch.close()
        for sender in self._senders:
            sender.close()

    def counts(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{signal: {destination: {"accepted", "exported", "queued", "dropped": {reason: records}}}}; signals are span,
        log and metric (data points), and accepted = exported + queued + dropped."""
        return self._tally.snapshot()

    def health(self) -> list[dict[str, Any]]:
        """One dict per destination and signal: where it sends, whether it works, the last problem, what waits."""
        return [self._health(sender) for sender in self._senders]

    def _health(self, sender: Sender) -> dict[str, Any]:
        rows, records, size = self._queue.size(sender.key)
        return {
            "destination": sender.key[0],
            "signal": sender.key[1],
            "endpoint": sender.destination.shown,
            "failing": sender.pacing.failing,
            "breaker_open": sender.pacing.breaker_open,
            "problem": sender.problem,
            "retry_in_seconds": round(sender.pacing.wait(), 1) if sender.pacing.failing else 0.0,
            "resends": sender.resends,
            "queue": {"requests": rows, "records": records, "bytes": size},
        }

    def _dropped(self, row: Row, reason: str) -> None:
        destination, signal = row.key
        self._tally.drop(SIGNALS[signal].record, reason, row.records, destination)


def _limits(settings: Settings, prefix: str) -> Limits:
    """OTEL_BSP_* or OTEL_BLRP_*. The queue size is a minimum: the hub batches for all workers of the app."""
    return Limits(
        settings.seconds(f"OTEL_{prefix}_SCHEDULE_DELAY"),
        settings.integer(f"OTEL_{prefix}_MAX_EXPORT_BATCH_SIZE"),
        max(settings.integer(f"OTEL_{prefix}_MAX_QUEUE_SIZE"), CAPACITY),
    )


def _transport(destination: Destination, console: TextIO) -> Transport:
    """The transport of a destination's protocol; only that one is imported."""
    if destination.protocol == "console":
        return Console(console)
    if destination.protocol == "grpc":
        from otel_agent.hub.export.grpc import Grpc

        return Grpc(destination)
    from otel_agent.hub.export.http import Http

    return Http(destination)
