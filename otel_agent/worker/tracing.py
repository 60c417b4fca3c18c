"""TracerProvider and Tracer over the channel: the OpenTelemetry API without the SDK."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from time import time_ns
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.util._decorator import _agnosticcontextmanager

from otel_agent import settings

from . import sampling, values
from .channel import Channel
from .span import Limits, Span

_random = random.Random()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSAMPLED = TraceFlags(TraceFlags.DEFAULT)
_NO_STATE = TraceState()
Scope = tuple[str, str, str, dict[str, Any]]


def reseed() -> None:
    """Draw other ids than the parent process (after a fork)."""
    _random.seed(os.urandom(32))


class Tracer(trace.Tracer):
    """Makes spans of one instrumentation scope."""

    def __init__(self, provider: TracerProvider, scope: Scope) -> None:
        self.provider = provider
        self.scope = scope
        self.delegate: trace.Tracer | None = None

    def start_span(
        self,
        name: str,
        context: context_api.Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """A new span; its parent is the span of `context`, the current one by default."""
        if self.delegate is not None:
            return self.delegate.start_span(
                name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
            )
        parent: SpanContext | None = trace.get_current_span(context).get_span_context()
        provider = self.provider
        if parent is not None and parent.is_valid:
            trace_id, span_id = parent.trace_id, provider.new_span_id()
        else:
            parent = None
            trace_id, span_id = provider.new_ids()
        sampled, more, state = provider.sampler(parent, trace_id, name, kind, attributes, links)
        if state is None:
            state = parent.trace_state if parent is not None else _NO_STATE
        span_context = SpanContext(trace_id, span_id, False, _SAMPLED if sampled else _UNSAMPLED, state)
        if not sampled:
            return NonRecordingSpan(span_context)
        span = Span(
            self,
            name,
            span_context,
            parent,
            kind,
            start_time or time_ns(),
            record_exception,
            set_status_on_exception,
        )
        if attributes:
            span._attributes, span._dropped_attributes = values.attributes(
                attributes, provider.limits.attributes, provider.limits.length
            )
        if more:
            span.set_attributes(more)
        for link in links or ():
            span.add_link(link.context, link.attributes)
        for processor in provider.processors:
            processor.on_start(span, context)
        return span

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: context_api.Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        """The same, current during a `with` block or as a decorator."""
        span = self.start_span(
            name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
        )
        with trace.use_span(span, end_on_exit, record_exception, set_status_on_exception):
            yield span


class TracerProvider(trace.TracerProvider):
    """The global TracerProvider of a process under the agent."""

    def __init__(self, configured: settings.Settings, channel: Channel) -> None:
        self.channel = channel
        self.limits = Limits(configured)
        self.sampler = sampling.named(
            configured.text("OTEL_TRACES_SAMPLER"), configured.text("OTEL_TRACES_SAMPLER_ARG")
        )
        self.processors: list[Any] = []
        self._tracers: dict[Any, Tracer] = {}
        self._delegate: trace.TracerProvider | None = None
        self._generator = _id_generator(configured.text("OTEL_PYTHON_ID_GENERATOR"))

    def new_span_id(self) -> int:
        """A fresh 64-bit id."""
        if self._generator is not None:
            return int(self._generator.generate_span_id())
        return _random.getrandbits(64) or 1

    def new_ids(self) -> tuple[int, int]:
        """A fresh (128-bit trace id, 64-bit span id)."""
        if self._generator is not None:
            return int(self._generator.generate_trace_id()), int(self._generator.generate_span_id())
        bits = _random.getrandbits(192)
        return bits >> 64 or 1, bits & 0xFFFFFFFFFFFFFFFF or 1

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> trace.Tracer:
        """The tracer of an instrumentation scope."""
        clean, _ = values.attributes(attributes, 128, self.limits.length)
        name, version = str(instrumenting_module_name or ""), str(instrumenting_library_version or "")
        key = (name, version, schema_url, repr(sorted(clean.items())) if clean else "")
        tracer = self._tracers.get(key)
        if tracer is None:
            tracer = self._tracers[key] = Tracer(self, (name, version, schema_url or "", clean))
            tracer.delegate = self._of_delegate(tracer)
        return tracer

    def step_aside(self, provider: trace.TracerProvider) -> None:
        """From now on every span is made by the app's own provider."""
        self._delegate = provider
        for tracer in self._tracers.values():
            tracer.delegate = self._of_delegate(tracer)

    def _of_delegate(self, tracer: Tracer) -> trace.Tracer | None:
        if self._delegate is None:
            return None
        name, version, schema_url, attributes = tracer.scope
        return self._delegate.get_tracer(name, version or None, schema_url or None, attributes or None)

    # Methods of the SDK's provider that libraries call on the global one.

    @property
    def resource(self) -> Any:
        """The SDK's default resource; the hub knows the service's."""
        from .foreign import resource

        return resource()

    def add_span_processor(self, span_processor: Any) -> None:
        """Hand each span to an SDK span processor too, as the SDK's ReadableSpan."""
        self.processors.append(span_processor)

    def hand_to_processors(self, span: Span) -> None:
        """Call `on_end` of each added processor; their errors are the app's own and are reported, not raised."""
        from .foreign import readable

        converted = readable(span)
        for processor in self.processors:
            processor.on_end(converted)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Hand over what waits (the channel is write-through; there is little) and flush added processors."""
        self.channel.flush()
        flushed = [processor.force_flush(timeout_millis) is not False for processor in self.processors]
        return all(flushed)

    def shutdown(self) -> None:
        """Shut added processors down; our own path stays open until the process ends."""
        self.channel.flush()
        for processor in self.processors:
            processor.shutdown()


def _id_generator(name: str) -> Any:
    if name == "random":
        return None
    from importlib.metadata import entry_points

    found = list(entry_points(group="opentelemetry_id_generator", name=name))
    return found[0].load()() if found else None
