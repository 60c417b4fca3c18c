"""Spans on their way to the exporters."""

from __future__ import annotations

from typing import Any

from otel_agent import wire

from . import Exports
from .genai import PROVIDER, Names


class Traces:
    """Counts spans and hands them on."""

    def __init__(self, exports: Exports | None, names: Names) -> None:
        self._exports = exports
        self._names = names
        self.received = 0

    def add(self, resource: dict[str, Any], span: wire.Span) -> None:
        """Take a span of a worker with that resource."""
        self.received += 1
        if self._exports is None:
            return
        if PROVIDER in span.attributes:
            span.attributes = self._names.attributes(span.attributes)
        self._exports.add_span(resource, span)
