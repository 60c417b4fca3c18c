"""Limits and Span: what is recorded between a span's start and its end."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from time import time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from otel_agent import settings, wire

from . import values

if TYPE_CHECKING:
    from .tracing import Tracer

_KIND = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_STATUS = {StatusCode.UNSET: 0, StatusCode.OK: 1, StatusCode.ERROR: 2}


class Limits:
    """Span limits, from OTEL_SPAN_* and OTEL_ATTRIBUTE_*. Lengths are characters."""

    __slots__ = ("attributes", "event_attributes", "events", "length", "link_attributes", "links")

    def __init__(self, configured: settings.Settings) -> None:
        general = configured.optional_integer("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT")
        length = configured.optional_integer("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")
        self.attributes = configured.integer("OTEL_ATTRIBUTE_COUNT_LIMIT") if general is None else general
        self.length = configured.integer("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT") if length is None else length
        self.events = configured.integer("OTEL_SPAN_EVENT_COUNT_LIMIT")
        self.links = configured.integer("OTEL_SPAN_LINK_COUNT_LIMIT")
        self.event_attributes = configured.integer("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT")
        self.link_attributes = configured.integer("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT")


class Span(trace.Span):
    """A sampled span. Ended, it is a record on its way to the hub."""

    # What most spans never change stands on the class.
    _end = 0
    _status = StatusCode.UNSET
    _status_message = ""
    _dropped_attributes = _dropped_events = _dropped_links = 0

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        start: int,
        record_exception: bool,
        set_status: bool,
    ) -> None:
        self._tracer = tracer
        self._provider = tracer.provider
        self._limits = tracer.provider.limits
        self._name = name if name.__class__ is str and len(name) <= values.MAX_NAME else str(name)[: values.MAX_NAME]
        self._context = context
        self._parent = parent
        self._kind = kind
        self._start = start
        self._attributes: dict[str, Any] = {}
        self._events: list[tuple[str, int, dict[str, Any]]] = []
        self._links: list[tuple[bytes, bytes, str, int, dict[str, Any]]] = []
        self._record_exception = record_exception
        self._set_status = set_status
        self.trace_bytes = context.trace_id.to_bytes(16, "big")
        self.span_bytes = context.span_id.to_bytes(8, "big")

    def get_span_context(self) -> SpanContext:
        """The identity of this span."""
        return self._context

    def is_recording(self) -> bool:
        """True until the span has ended."""
        return not self._end

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute; the last value wins."""
        if self._end or value is None or key.__class__ is not str or not key:
            return
        attributes = self._attributes
        if len(attributes) >= self._limits.attributes and key not in attributes:
            self._dropped_attributes += 1
            return
        kind = value.__class__
        if kind is str:
            if len(value) > self._limits.length:
                value = value[: self._limits.length]
        elif kind not in values.PLAIN:
            value = values.one(value, self._limits.length)
        attributes[key if len(key) <= values.MAX_KEY else key[: values.MAX_KEY]] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        clean, dropped = values.attributes(attributes, self._limits.attributes, self._limits.length)
        self._dropped_attributes += dropped
        for key, value in clean.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event at `timestamp` (ns since the epoch), now by default."""
        if self._end:
            return
        if len(self._events) >= self._limits.events:
            self._dropped_events += 1
            return
        clean, _ = values.attributes(attributes, self._limits.event_attributes, self._limits.length)
        self._events.append((str(name)[: values.MAX_NAME], timestamp or time_ns(), clean))

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Add a link to another span."""
        if self._end or not isinstance(context, SpanContext):
            return
        if len(self._links) >= self._limits.links:
            self._dropped_links += 1
            return
        clean, _ = values.attributes(attributes, self._limits.link_attributes, self._limits.length)
        self._links.append(
            (
                context.trace_id.to_bytes(16, "big"),
                context.span_id.to_bytes(8, "big"),
                context.trace_state.to_header(),
                int(context.trace_flags),
                clean,
            )
        )

    def update_name(self, name: str) -> None:
        """Rename the span."""
        if not self._end:
            self._name = str(name)[: values.MAX_NAME]

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status: OK is final, and UNSET changes nothing. A description belongs to ERROR only."""
        if isinstance(status, Status):
            code, message = status.status_code, status.description
        else:
            code, message = status, description
        if self._end or self._status is StatusCode.OK or code is StatusCode.UNSET:
            return
        self._status = code
        self._status_message = (message or "")[: self._limits.length] if code is StatusCode.ERROR else ""

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add an `exception` event with type, message and stack trace."""
        if self._end:
            return
        kind = type(exception)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        try:
            stack = "".join(traceback.format_exception(kind, exception, exception.__traceback__))
        except Exception:  # noqa: BLE001  formatting calls the exception's own __str__
            stack = name
        event: dict[str, Any] = {
            "exception.type": name,
            "exception.message": values.text(exception, self._limits.length),
            "exception.stacktrace": stack[-self._limits.length :],
            "exception.escaped": str(escaped),
        }
        if attributes:
            event.update(values.attributes(attributes, self._limits.event_attributes, self._limits.length)[0])
        self.add_event("exception", event, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End the span, once, and hand it to the hub."""
        if self._end:
            return
        end = self._end = end_time or time_ns()
        context, parent = self._context, self._parent
        channel = self._provider.channel
        # A local root takes everything below it along.
        send = channel.send if parent is None or parent.is_remote else channel.send_soon
        send(
            wire.Span(
                self.trace_bytes,
                self.span_bytes,
                parent.span_id.to_bytes(8, "big") if parent is not None else b"",
                parent.is_remote if parent is not None else False,
                context.trace_state.to_header() if context.trace_state else "",
                int(context.trace_flags),
                self._name,
                _KIND.get(self._kind, 1),
                self._start,
                end,
                self._attributes,
                self._events,
                self._links,
                _STATUS[self._status],
                self._status_message,
                self._tracer.scope,
                (self._dropped_attributes, self._dropped_events, self._dropped_links),
            )
        )
        if self._provider.processors:
            self._provider.hand_to_processors(self)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if isinstance(exc_val, Exception) and not self._end:
            if self._record_exception:
                self.record_exception(exc_val)
            if self._set_status:
                text = f"{type(exc_val).__name__}: {values.text(exc_val, self._limits.length)}"
                self.set_status(StatusCode.ERROR, text)
        self.end()
