"""The record: the only contract between worker and hub.

A connection is a stream of frames. A frame is a header and a MessagePack array of records; a record is an array whose
first item is its type. Definitions (instruments, attribute sets) are numbered per connection and sent before their
first use. Ids are raw bytes, times are nanoseconds since the epoch unless said otherwise.
"""

from __future__ import annotations

import struct
from typing import Any, Union

import msgspec

MAGIC = b"OTLA"
VERSION = 1
HEADER = struct.Struct(">4sBxxxIQ")  # magic, version, payload length, sequence number of the frame
MAX_PAYLOAD = 1 << 20
MAX_RECORD = 1 << 16

# The values OpenTelemetry allows for an attribute; None inside a list only.
Value = Any
Attributes = dict[str, Value]


class Hello(msgspec.Struct, array_like=True, tag=1, gc=False):
    """First record of a connection: who the worker is. `worker_id` is 16 random bytes, new in every process."""

    worker_id: bytes
    pid: int
    parent_pid: int
    agent_version: str
    python: str
    command: str
    started: int
    resource: dict[str, Any]


class DefineInstrument(msgspec.Struct, array_like=True, tag=2, gc=False):
    """A metric instrument. `kind`: counter, updowncounter, histogram, gauge, or observable_<one of the first two>
    or observable_gauge, whose measurements are absolute values."""

    id: int
    kind: str
    name: str
    unit: str
    description: str
    buckets: tuple[float, ...] | None
    scope: str
    scope_version: str
    schema_url: str


class DefineAttributes(msgspec.Struct, array_like=True, tag=3, gc=False):
    """An attribute set of measurements."""

    id: int
    attributes: Attributes


class Measurement(msgspec.Struct, array_like=True, tag=4, gc=False):
    """One measurement; the ids of the current sampled span, if any, make it an exemplar."""

    instrument: int
    attributes: int
    value: Union[int, float]  # noqa: UP007  msgspec reads annotations at run time
    trace_id: bytes = b""
    span_id: bytes = b""


class Span(msgspec.Struct, array_like=True, tag=5, gc=False):
    """An ended span. `kind` and `status` are the numbers of OTLP; `scope` is (name, version, schema_url, attributes).

    events: (name, time, attributes); links: (trace_id, span_id, trace_state, flags, attributes).
    dropped: counts of dropped (attributes, events, links).
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    parent_is_remote: bool
    trace_state: str
    flags: int
    name: str
    kind: int
    start: int
    end: int
    attributes: Attributes
    events: list[tuple[str, int, Attributes]]
    links: list[tuple[bytes, bytes, str, int, Attributes]]
    status: int
    status_message: str
    scope: tuple[str, str, str, Attributes]
    dropped: tuple[int, int, int] = (0, 0, 0)


class Log(msgspec.Struct, array_like=True, tag=6, gc=False):
    """A log record or event."""

    time: int
    observed: int
    severity: int
    severity_text: str
    body: Value
    attributes: Attributes
    trace_id: bytes
    span_id: bytes
    flags: int
    event_name: str
    scope: tuple[str, str, str, Attributes]


class Counters(msgspec.Struct, array_like=True, tag=7, gc=False):
    """Totals of this process since its start: records produced by signal, and dropped by (signal, reason)."""

    produced: dict[str, int]
    dropped: dict[str, int]


class Diagnostic(msgspec.Struct, array_like=True, tag=8, gc=False):
    """One line about the agent itself, to be said once by the supervisor."""

    text: str


class Goodbye(msgspec.Struct, array_like=True, tag=9, gc=False):
    """Last record of a worker that ends in order."""

    reason: str = "exit"


Record = Union[  # noqa: UP007  msgspec reads it at run time on Python 3.10
    Hello, DefineInstrument, DefineAttributes, Measurement, Span, Log, Counters, Diagnostic, Goodbye
]

encoder = msgspec.msgpack.Encoder()
decoder: msgspec.msgpack.Decoder[list[Record]] = msgspec.msgpack.Decoder(list[Record])
_raw_decoder: msgspec.msgpack.Decoder[list[msgspec.Raw]] = msgspec.msgpack.Decoder(list[msgspec.Raw])
_record_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


class FrameError(ValueError):
    """The bytes are not a frame of this protocol; the connection cannot go on."""


def encode_frame(sequence: int, records: list[Record]) -> bytes:
    """One frame. Raises what msgspec raises for values it cannot encode."""
    payload = encoder.encode(records)
    return HEADER.pack(MAGIC, VERSION, len(payload), sequence) + payload


def decode_header(header: bytes | bytearray | memoryview) -> tuple[int, int]:
    """(payload length, sequence) of a frame header; FrameError when it is none, checked before any allocation."""
    magic, version, length, sequence = HEADER.unpack_from(header)
    if magic != MAGIC:
        raise FrameError("wrong magic")
    if version != VERSION:
        raise FrameError(f"protocol version {version} is not {VERSION}")
    if length > MAX_PAYLOAD:
        raise FrameError(f"frame of {length} bytes is over {MAX_PAYLOAD}")
    return length, sequence


def decode_payload(payload: bytes | bytearray | memoryview) -> tuple[list[Record], int]:
    """(records, number of records that were skipped because this version does not know or accept them)."""
    try:
        return decoder.decode(payload), 0
    except msgspec.ValidationError:
        pass
    except msgspec.DecodeError as error:
        raise FrameError(f"payload is not MessagePack: {error}") from None
    records: list[Record] = []
    skipped = 0
    try:
        raws = _raw_decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise FrameError(f"payload is no array of records: {error}") from None
    for raw in raws:
        try:
            records.append(_record_decoder.decode(raw))
        except msgspec.MsgspecError:
            skipped += 1
    return records, skipped
