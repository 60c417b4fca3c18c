"""Log records on their way to the exporters."""

from __future__ import annotations

from typing import Any

from otel_agent import wire

from . import Exports


class Logs:
    """Counts log records and hands them on."""

    def __init__(self, exports: Exports | None) -> None:
        self._exports = exports
        self.received = 0

    def add(self, resource: dict[str, Any], log: wire.Log) -> None:
        """Take a log record of a worker with that resource."""
        self.received += 1
        if self._exports is not None:
            self._exports.add_log(resource, log)
