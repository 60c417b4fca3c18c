"""The record: frames survive the way, and bad ones are refused before they cost anything."""

import msgspec
import pytest

from otel_agent import wire


def span(name: str = "s") -> wire.Span:
    """A plain span."""
    return wire.Span(
        b"t" * 16, b"s" * 8, b"", False, "", 1, name, 1, 10, 20, {"a": 1}, [], [], 0, "", ("scope", "", "", {})
    )


def split(frame: bytes) -> tuple[int, int, bytes]:
    """(payload length, sequence, payload) of a frame."""
    length, sequence = wire.decode_header(frame)
    return length, sequence, frame[wire.HEADER.size :]


def test_round_trip() -> None:
    """What is encoded is decoded, in order, with its sequence number."""
    records: list[wire.Record] = [
        wire.Hello(b"i" * 16, 1, 0, "0", "3", "app", 5, {"process.pid": 1}),
        wire.DefineInstrument(0, "histogram", "h", "s", "", (1.0, 2.0), "scope", "", ""),
        wire.DefineAttributes(1, {"k": [1, 2]}),
        wire.Measurement(0, 1, 1.5),
        span(),
        wire.Log(0, 1, 9, "INFO", {"nested": [None]}, {}, b"", b"", 0, "", ("scope", "", "", {})),
        wire.Counters({"span": 1}, {}),
        wire.Diagnostic("text"),
        wire.Goodbye(),
    ]
    length, sequence, payload = split(wire.encode_frame(7, records))
    assert (length, sequence) == (len(payload), 7)
    assert wire.decode_payload(payload) == (records, 0)


def test_unknown_records_are_skipped() -> None:
    """A record type of a later version is counted and skipped; its neighbours are read."""
    payload = msgspec.msgpack.encode([[99, "new"], span("kept"), "no record"])
    records, skipped = wire.decode_payload(payload)
    assert ([record.name for record in records if isinstance(record, wire.Span)], skipped) == (["kept"], 2)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (wire.HEADER.pack(b"HTTP", wire.VERSION, 1, 0), "magic"),
        (wire.HEADER.pack(wire.MAGIC, 9, 1, 0), "version 9"),
        (wire.HEADER.pack(wire.MAGIC, wire.VERSION, wire.MAX_PAYLOAD + 1, 0), "over"),
    ],
)
@pytest.mark.fault("F30")
def test_bad_headers(header: bytes, says: str) -> None:
    """Wrong magic, version or length is refused from the header alone."""
    with pytest.raises(wire.FrameError, match=says):
        wire.decode_header(header)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x93\x01", msgspec.msgpack.encode({"no": "array"})])
@pytest.mark.fault("F30")
def test_bad_payloads(payload: bytes) -> None:
    """A payload that is no MessagePack array is a FrameError."""
    with pytest.raises(wire.FrameError):
        wire.decode_payload(payload)
