"""Values that OTLP cannot carry, made into values it can, one by one, so that no batch is lost for one value.

Only called after an encoding failed; the ordinary way does not pay for it.
"""

from __future__ import annotations

from typing import Any

from otel_agent import wire

DEPTH = 16  # protobuf's own parsers stop at 100 messages; a level here is three
_UINT32 = (1 << 32) - 1
_UINT64 = (1 << 64) - 1


def text(value: object) -> str:
    """A string that UTF-8 can encode: pairs of surrogates become their character, lone ones U+FFFD."""
    return str(value).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def value(item: Any, depth: int = DEPTH) -> Any:
    """An attribute value or body that AnyValue can hold. Integers beyond 64 bit become decimal text, as the
    specification's attribute type mapping says; what has no OTLP type becomes its text."""
    if item is None or isinstance(item, bool | float | bytes):
        return item
    if isinstance(item, int):
        return int(item) if -(1 << 63) <= item < 1 << 63 else _decimal(item)
    if isinstance(item, bytearray | memoryview):
        return bytes(item)
    if isinstance(item, list | tuple):
        return [value(inner, depth - 1) for inner in item] if depth else "(nested too deeply)"
    if isinstance(item, dict):
        return attributes(item, depth - 1) if depth else "(nested too deeply)"
    return text(item)


def attributes(pairs: dict[Any, Any], depth: int = DEPTH) -> wire.Attributes:
    """Attributes with clean keys and values."""
    return {text(key): value(item, depth) for key, item in pairs.items()}


def span(dirty: wire.Span) -> wire.Span:
    """The span with every part in OTLP's range. Raises ValueError for ids of a wrong size: without them it is none."""
    return wire.Span(
        trace_id=_id(dirty.trace_id, 16),
        span_id=_id(dirty.span_id, 8),
        parent_id=_id(dirty.parent_id, 8) if dirty.parent_id else b"",
        parent_is_remote=bool(dirty.parent_is_remote),
        trace_state=text(dirty.trace_state),
        flags=dirty.flags & 0xFF,
        name=text(dirty.name),
        kind=dirty.kind if 0 <= dirty.kind <= 5 else 0,
        start=_bounded(dirty.start, _UINT64),
        end=_bounded(dirty.end, _UINT64),
        attributes=attributes(dirty.attributes),
        events=[(text(name), _bounded(time, _UINT64), attributes(pairs)) for name, time, pairs in dirty.events],
        links=[
            (_id(trace_id, 16), _id(span_id, 8), text(state), flags & 0xFF, attributes(pairs))
            for trace_id, span_id, state, flags, pairs in dirty.links
        ],
        status=dirty.status if 0 <= dirty.status <= 2 else 0,
        status_message=text(dirty.status_message),
        scope=scope(dirty.scope),
        dropped=(
            _bounded(dirty.dropped[0], _UINT32),
            _bounded(dirty.dropped[1], _UINT32),
            _bounded(dirty.dropped[2], _UINT32),
        ),
    )


def log(dirty: wire.Log) -> wire.Log:
    """The log record with every part in OTLP's range; ids of a wrong size are left out."""
    return wire.Log(
        time=_bounded(dirty.time, _UINT64),
        observed=_bounded(dirty.observed, _UINT64),
        severity=dirty.severity if 0 <= dirty.severity <= 24 else 0,
        severity_text=text(dirty.severity_text),
        body=value(dirty.body),
        attributes=attributes(dirty.attributes),
        trace_id=dirty.trace_id if len(dirty.trace_id) == 16 else b"",
        span_id=dirty.span_id if len(dirty.span_id) == 8 else b"",
        flags=dirty.flags & 0xFF,
        event_name=text(dirty.event_name),
        scope=scope(dirty.scope),
    )


def scope(dirty: tuple[str, str, str, wire.Attributes]) -> tuple[str, str, str, wire.Attributes]:
    """An instrumentation scope with clean names and attributes."""
    name, version, schema_url, pairs = dirty
    return text(name), text(version), text(schema_url), attributes(pairs)


def _id(raw: bytes, size: int) -> bytes:
    if len(raw) != size:
        raise ValueError(f"an id of {len(raw)} bytes instead of {size}")
    return raw


def _bounded(number: int, top: int) -> int:
    return min(max(number, 0), top)


def _decimal(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # over sys.get_int_max_str_digits()
        return hex(number)
