"""Where encoded telemetry becomes rows of the queue: one for each destination of the signal."""

from __future__ import annotations

from typing import Any

from otel_agent.hub.export import body
from otel_agent.hub.export.destination import Destination
from otel_agent.hub.export.queue import Queue
from otel_agent.hub.export.signals import count


class Outbox:
    """The destinations of one signal. `put` may be called by any thread."""

    def __init__(self, signal: str, destinations: list[Destination], queue: Queue) -> None:
        self.signal = signal
        self._destinations = destinations
        self._queue = queue

    def put(self, message: Any) -> None:
        """Queue a request for every destination, in parts of a size that collectors take; an empty one is not sent."""
        rows: list[tuple[str, bytes, int]] = []
        for part in body.cut(self.signal, message):
            records = count(self.signal, part)
            if not records:
                continue
            packed: dict[body.Form, bytes] = {}
            for destination in self._destinations:
                form = body.form(destination)
                if form not in packed:
                    packed[form] = body.pack(part, form)
                rows.append((destination.name, packed[form], records))
        for name, data, records in rows:  # all or none: what raises above is counted as not encoded
            self._queue.put((name, self.signal), data, records)
