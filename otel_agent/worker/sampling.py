"""The samplers of OTEL_TRACES_SAMPLER, as functions of the parent and the trace id.

Source: OpenTelemetry specification, "Trace SDK, Built-in samplers". A sampler outside this list is looked up among the
entry points `opentelemetry_traces_sampler`, which loads the SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.trace import SpanContext, SpanKind, TraceState

# (parent, trace id, name, kind, attributes, links) -> (sampled, further attributes or None, trace state or None)
Decision = tuple[bool, dict[str, Any] | None, TraceState | None]
Sampler = Callable[[SpanContext | None, int, str, SpanKind, Any, Any], Decision]

_YES: Decision = (True, None, None)
_NO: Decision = (False, None, None)


def always_on(*_: Any) -> Decision:
    """Sample everything."""
    return _YES


def always_off(*_: Any) -> Decision:
    """Sample nothing."""
    return _NO


def trace_id_ratio(ratio: float) -> Sampler:
    """Sample the share `ratio` (0 to 1) of all traces, the same ones as every OpenTelemetry SDK for Python."""
    bound = round(ratio * 2**64)

    def sample(parent: SpanContext | None, trace_id: int, *_: Any) -> Decision:
        return _YES if (trace_id & 0xFFFFFFFFFFFFFFFF) < bound else _NO

    return sample


def parent_based(root: Sampler) -> Sampler:
    """Follow the parent's decision; `root` decides for spans without one."""

    def sample(parent: SpanContext | None, *rest: Any) -> Decision:
        if parent is None:
            return root(parent, *rest)
        return _YES if parent.trace_flags & 1 else _NO

    return sample


def named(name: str, argument: str) -> Sampler:
    """The sampler of a name and its argument. An unusable argument counts as 1.0, an unknown name as the default."""
    word = name.strip().lower()
    base = word.removeprefix("parentbased_")
    root: Sampler
    if base == "always_on":
        root = always_on
    elif base == "always_off":
        root = always_off
    elif base == "traceidratio":
        root = trace_id_ratio(_ratio(argument))
    else:
        return _foreign(name.strip(), argument) or parent_based(always_on)
    return parent_based(root) if word != base else root


def _ratio(argument: str) -> float:
    try:
        ratio = float(argument)
    except ValueError:
        return 1.0
    return ratio if 0.0 <= ratio <= 1.0 else 1.0


def _foreign(name: str, argument: str) -> Sampler | None:
    from importlib.metadata import entry_points

    from opentelemetry import trace

    found = list(entry_points(group="opentelemetry_traces_sampler", name=name))
    if not found:
        return None
    sampler = found[0].load()(argument)

    def sample(
        parent: SpanContext | None, trace_id: int, span_name: str, kind: SpanKind, attributes: Any, links: Any
    ) -> Decision:
        context = None
        if parent is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        result = sampler.should_sample(context, trace_id, span_name, kind, attributes, links)
        return result.decision.is_sampled(), dict(result.attributes or {}), result.trace_state

    return sample
