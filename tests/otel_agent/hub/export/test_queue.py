"""The queue in memory."""

import threading

from otel_agent.hub.export.queue import Queue, Row

A, B = ("otlp", "traces"), ("otlp", "logs")


class Drops(list[tuple[bytes, str]]):
    def __call__(self, row: Row, reason: str) -> None:
        self.append((row.body, reason))


def test_fifo() -> None:
    """Rows come out in the order they went in, per key, and stay until they are deleted."""
    queue = Queue(Drops())
    queue.put(A, b"1", 1)
    queue.put(A, b"2", 2)
    queue.put(B, b"3", 3)
    first = queue.peek(A)
    assert first is not None
    assert first is queue.peek(A)
    assert queue.size(A) == (2, 3, 2)
    queue.delete(first)
    second = queue.peek(A)
    assert second is not None
    assert second.body == b"2"
    assert queue.peek(("otlp", "metrics")) is None


def test_full() -> None:
    """When the bytes are over the bound the oldest rows of the largest key go, not those being sent."""
    drops = Drops()
    queue = Queue(drops, max_bytes=10)
    for body in (b"a111", b"a222", b"a3"):
        queue.put(A, body, 1)
    oldest = queue.peek(A)
    assert oldest is not None
    assert queue.dispatch(oldest)
    queue.put(B, b"bb", 1)
    assert drops == [(b"a222", "queue_full")]
    assert queue.peek(A) is oldest


def test_too_large_for_the_queue() -> None:
    """A row that alone is over the bound is dropped itself when nothing else can go."""
    drops = Drops()
    queue = Queue(drops, max_bytes=10)
    queue.put(A, b"x" * 11, 1)
    assert drops == [(b"x" * 11, "queue_full")]
    assert queue.peek(A) is None


def test_expired() -> None:
    """Rows over the age bound are dropped as expired."""
    now = [0.0]
    drops = Drops()
    queue = Queue(drops, max_age=10, clock=lambda: now[0])
    queue.put(A, b"old", 1)
    now[0] = 6
    queue.put(A, b"new", 1)
    now[0] = 11
    row = queue.peek(A)
    assert row is not None
    assert row.body == b"new"
    assert drops == [(b"old", "expired")]


def test_replace() -> None:
    """Halves take the place of their row, in order, before all others."""
    queue = Queue(Drops())
    queue.put(A, b"12", 2)
    queue.put(A, b"3", 1)
    row = queue.peek(A)
    assert row is not None
    queue.replace(row, [(b"1", 1), (b"2", 1)])
    order = []
    while (row := queue.peek(A)) is not None:
        order.append((row.body, row.half))
        queue.delete(row)
    assert order == [(b"1", True), (b"2", True), (b"3", False)]


def test_gone_row_is_not_dispatched() -> None:
    """A row that was dropped between peek and dispatch is not sent."""
    queue = Queue(Drops(), max_bytes=4)
    queue.put(A, b"1234", 1)
    row = queue.peek(A)
    assert row is not None
    queue.put(A, b"5678", 1)
    assert not queue.dispatch(row)


def test_wait() -> None:
    """A waiter wakes when the queue changes, at once when it has changed already."""
    queue = Queue(Drops())
    version = queue.version
    threading.Timer(0.01, queue.put, (A, b"1", 1)).start()
    queue.wait(version, 10)
    assert queue.peek(A) is not None
    queue.wait(version, 10)
