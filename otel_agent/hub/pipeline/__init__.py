"""The pipeline: what happens to a record between intake and exporters. Runs in the hub's event loop."""

from __future__ import annotations

from typing import Any, Protocol

from otel_agent import wire


class Exports(Protocol):
    """Where spans and log records go. The resource of one worker is the same dict object every time."""

    def add_span(self, resource: dict[str, Any], span: wire.Span) -> None:
        """Take an ended span."""

    def add_log(self, resource: dict[str, Any], log: wire.Log) -> None:
        """Take a log record."""
