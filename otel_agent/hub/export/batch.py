"""Records become requests: by count, by weight and by delay. Encoding happens in the batch's own thread,
so that neither the hub's event loop nor a collector that hangs holds it up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from otel_agent.hub.export.outbox import Outbox
from otel_agent.hub.export.signals import SIGNALS
from otel_agent.hub.export.tally import Tally


class Record(Protocol):
    """What spans and log records have in common."""

    @property
    def attributes(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=Record)
Encode = Callable[[list[tuple[dict[str, Any], R]]], tuple[Any, int]]

CAPACITY = 16384
CAPACITY_WEIGHT = 32 << 20
WEIGHT = 2 << 20
"""Characters of attribute values, about bytes, at which a batch is full."""


@dataclass(frozen=True)
class Limits:
    """delay: seconds a record waits for its batch. size: records in one request. capacity: records that wait."""

    delay: float
    size: int
    capacity: int


class Batch(Generic[R]):
    """The records of one signal on their way into requests. `encode` returns a request and the number of records it
    had to leave out."""

    def __init__(self, outbox: Outbox, encode: Encode[R], limits: Limits, tally: Tally) -> None:
        self._outbox = outbox
        self._encode = encode
        self._limits = limits
        self._tally = tally
        self._record = SIGNALS[outbox.signal].record
        self._waiting: deque[tuple[dict[str, Any], R, int]] = deque()
        self._weight = 0
        self._changed = threading.Condition()
        self._since = 0.0
        self._flushing = self._closing = self._busy = False
        self._thread = threading.Thread(target=self._run, name=f"otlp-batch-{outbox.signal}", daemon=True)
        self._thread.start()

    def add(self, resource: dict[str, Any], record: R) -> None:
        """Take one record; neither it nor `resource` may change any more. When too many wait, the oldest goes."""
        self._tally.accept(self._record, 1)
        weight = 200 + sum([len(value) for value in record.attributes.values() if type(value) is str])
        lost = 0
        with self._changed:
            waiting = self._waiting
            if not waiting:
                self._since = time.monotonic()
                self._changed.notify_all()
            waiting.append((resource, record, weight))
            self._weight += weight
            while len(waiting) > self._limits.capacity or self._weight > CAPACITY_WEIGHT:
                self._weight -= waiting.popleft()[2]
                lost += 1
            if len(waiting) == self._limits.size or self._weight > WEIGHT:
                self._changed.notify_all()
        self._tally.drop(self._record, "queue_full", lost)

    def flush(self, timeout: float) -> bool:
        """Encode what waits now; whether it was done within `timeout` seconds."""
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout)

    def close(self) -> None:
        """Stop the thread; what waits is left."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            batch = self._take()
            if batch is None:
                return
            self._send(batch)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _take(self) -> list[tuple[dict[str, Any], R]] | None:
        """The next batch when it is due; None when closing."""
        with self._changed:
            while not self._closing:
                if not self._waiting:
                    self._flushing = False
                    self._changed.wait()
                    continue
                left = self._since + self._limits.delay - time.monotonic()
                full = len(self._waiting) >= self._limits.size or self._weight > WEIGHT
                if full or self._flushing or left <= 0:
                    self._busy = True
                    return self._cut()
                self._changed.wait(left)
            return None

    def _cut(self) -> list[tuple[dict[str, Any], R]]:
        batch: list[tuple[dict[str, Any], R]] = []
        total = 0
        while self._waiting and len(batch) < self._limits.size and total <= WEIGHT:
            resource, record, weight = self._waiting.popleft()
            batch.append((resource, record))
            total += weight
        self._weight -= total
        self._since = time.monotonic()
        return batch

    def _send(self, batch: list[tuple[dict[str, Any], R]]) -> None:
        try:
            message, failed = self._encode(batch)
            self._outbox.put(message)
        except Exception:  # noqa: BLE001  a batch that cannot be encoded must not end the thread that encodes the rest
            failed = len(batch)
        self._tally.drop(self._record, "encode_error", failed)
