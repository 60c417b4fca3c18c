"""Records on their way into requests, when the encoder is held up."""

import threading
from typing import Any

import pytest

from otel_agent import wire
from otel_agent.hub.export import batch as batches
from otel_agent.hub.export import encode
from otel_agent.hub.export.batch import Batch, Limits
from otel_agent.hub.export.destination import Destination
from otel_agent.hub.export.outbox import Outbox
from otel_agent.hub.export.queue import Queue, Row
from otel_agent.hub.export.tally import Tally

Records = list[tuple[dict[str, Any], wire.Span]]


def span(name: str, **attributes: Any) -> wire.Span:
    return wire.Span(b"t" * 16, b"s" * 8, b"", False, "", 1, name, 1, 1, 2, attributes, [], [], 0, "", ("", "", "", {}))


class Held:
    """A batch whose encoder waits until it is let go; `encoded` has the names of each request."""

    def __init__(self, limits: Limits) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self.encoded: list[list[str]] = []
        self.tally = Tally({"span": ["otlp"]})
        self.queue = Queue(self._dropped)
        outbox = Outbox("traces", [Destination("otlp", "traces", "http/protobuf")], self.queue)
        self.batch: Batch[wire.Span] = Batch(outbox, self._encode, limits, self.tally)

    def _encode(self, records: Records) -> tuple[Any, int]:
        self.entered.set()
        self.go.wait(10)
        self.encoded.append([record.name for _, record in records])
        return encode.spans(records)

    def _dropped(self, row: Row, reason: str) -> None:
        raise AssertionError("the queue is large enough")

    def fill(self, names: str, **attributes: Any) -> None:
        """Let the encoder take one record, then add the named ones while it is held up."""
        self.batch.add({}, span("first"))
        assert self.entered.wait(10)
        for name in names:
            self.batch.add({}, span(name, **attributes))
        self.go.set()
        assert self.batch.flush(10)
        self.batch.close()


def test_too_many() -> None:
    """Records over the capacity go, oldest first, and are counted; the rest arrives in order."""
    held = Held(Limits(delay=0, size=2, capacity=4))
    held.fill("abcdefg")
    assert held.encoded == [["first"], ["d", "e"], ["f", "g"]]
    counts = {"accepted": 8, "exported": 0, "queued": 5, "dropped": {"queue_full": 3}}
    assert held.tally.snapshot()["span"]["otlp"] == counts
    assert held.queue.size(("otlp", "traces"))[1] == 5


def test_too_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records over the capacity in bytes go the same way."""
    monkeypatch.setattr(batches, "CAPACITY_WEIGHT", 3_000)
    held = Held(Limits(delay=0, size=512, capacity=100))
    held.fill("abcde", text="x" * 1_000)
    assert held.encoded == [["first"], ["d", "e"]]
    assert held.tally.snapshot()["span"]["otlp"]["dropped"] == {"queue_full": 3}


def test_encoder_fault() -> None:
    """A batch that cannot be encoded is counted and costs only itself."""
    tally = Tally({"span": ["otlp"]})
    queue = Queue(lambda row, reason: None)
    outbox = Outbox("traces", [Destination("otlp", "traces", "http/protobuf")], queue)

    def broken(records: Records) -> tuple[Any, int]:
        if records[0][1].name == "bad":
            raise RuntimeError("ours")
        return encode.spans(records)

    batch: Batch[wire.Span] = Batch(outbox, broken, Limits(delay=0, size=1, capacity=10), tally)
    for name in ("bad", "good"):
        batch.add({}, span(name))
        assert batch.flush(10)
    batch.close()
    counts = {"accepted": 2, "exported": 0, "queued": 1, "dropped": {"encode_error": 1}}
    assert tally.snapshot()["span"]["otlp"] == counts
