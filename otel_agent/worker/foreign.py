"""Our spans as the SDK's ReadableSpan, for span processors the app adds. The only module here that loads the SDK."""

from __future__ import annotations

from functools import cache

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, TraceFlags, TraceState

from .span import Span


@cache
def resource() -> Resource:
    """The resource from the environment, as the SDK detects it."""
    return Resource.create()


def readable(span: Span) -> ReadableSpan:
    """A finished span in the SDK's form."""
    name, version, schema_url, attributes = span._tracer.scope
    return ReadableSpan(
        name=span._name,
        context=span._context,
        parent=span._parent,
        resource=resource(),
        attributes=span._attributes,
        events=[Event(name, attributes, timestamp) for name, timestamp, attributes in span._events],
        links=[_link(*link) for link in span._links],
        kind=span._kind,
        status=Status(span._status, span._status_message or None),
        start_time=span._start,
        end_time=span._end,
        instrumentation_scope=InstrumentationScope(name, version, schema_url, attributes),
    )


def _link(trace_id: bytes, span_id: bytes, state: str, flags: int, attributes: dict[str, object]) -> Link:
    context = SpanContext(
        int.from_bytes(trace_id, "big"),
        int.from_bytes(span_id, "big"),
        False,
        TraceFlags(flags),
        TraceState.from_header([state]) if state else TraceState(),
    )
    return Link(context, attributes)  # type: ignore[arg-type]
