"""Encoded requests that wait for their destination, in memory, in the order they came.

The interface is that of the queue on disk to come: put, peek, delete; a row stays until its answer is known.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

Key = tuple[str, str]
"""(destination, signal)"""

MAX_BYTES = 64 << 20
MAX_AGE = 72 * 3600.0


@dataclass(eq=False)
class Row:
    """One request: its bytes as they are sent every time. `half`: it is a half of a request that was too large."""

    key: Key
    body: bytes
    records: int
    half: bool = False
    created: float = 0.0
    id: int = field(default_factory=itertools.count(1).__next__)
    dispatched: bool = False


class Queue:
    """FIFO per key, bounded by bytes over all keys and by age in seconds. Every method may be called by any thread.

    `dropped(row, reason)` is told of each row that was given up: "queue_full" or "expired".
    """

    def __init__(
        self,
        dropped: Callable[[Row, str], None],
        *,
        max_bytes: int = MAX_BYTES,
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dropped = dropped
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._clock = clock
        self._rows: dict[Key, deque[Row]] = {}
        self._bytes: dict[Key, int] = {}
        self._changed = threading.Condition()
        self.version = 0

    def put(self, key: Key, body: bytes, records: int) -> None:
        """Append a request. When the queue is full the oldest rows of the largest key go."""
        with self._changed:
            row = Row(key, body, records, created=self._clock())
            self._rows.setdefault(key, deque()).append(row)
            self._bytes[key] = self._bytes.get(key, 0) + len(body)
            victims = self._make_room()
            self._notify()
        for victim in victims:
            self._dropped(victim, "queue_full")

    def peek(self, key: Key) -> Row | None:
        """The oldest row of a key, which stays; rows that are too old go."""
        expired: list[Row] = []
        with self._changed:
            rows = self._rows.get(key, deque())
            while rows and self._clock() - rows[0].created > self._max_age:
                expired.append(self._remove(rows, 0))
            oldest = rows[0] if rows else None
        for row in expired:
            self._dropped(row, "expired")
        return oldest

    def dispatch(self, row: Row) -> bool:
        """Say that the row is being sent: it is not dropped until its answer is known. False when it is gone."""
        with self._changed:
            row.dispatched = row in self._rows[row.key]
            return row.dispatched

    def release(self, row: Row) -> None:
        """Say that the row was sent in vain and waits again."""
        row.dispatched = False

    def delete(self, row: Row) -> None:
        """Remove a row whose answer is known."""
        self.replace(row, [])

    def replace(self, row: Row, bodies: list[tuple[bytes, int]]) -> None:
        """Put halves, as (body, records), in the place of a row that was too large."""
        with self._changed:
            rows = self._rows[row.key]
            self._remove(rows, rows.index(row))
            for body, records in reversed(bodies):
                rows.appendleft(Row(row.key, body, records, half=True, created=row.created))
                self._bytes[row.key] += len(body)
            self._notify()

    def size(self, key: Key) -> tuple[int, int, int]:
        """(rows, records, bytes) that wait under a key."""
        with self._changed:
            rows = self._rows.get(key, deque())
            return len(rows), sum(row.records for row in rows), self._bytes.get(key, 0)

    def wake(self) -> None:
        """Let all who wait look again."""
        with self._changed:
            self._notify()

    def wait(self, version: int, timeout: float | None) -> None:
        """Wait until the queue is no longer at `version`, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != version, timeout)

    def _notify(self) -> None:
        self.version += 1
        self._changed.notify_all()

    def _make_room(self) -> list[Row]:
        victims: list[Row] = []
        while sum(self._bytes.values()) > self._max_bytes:
            for key in sorted(self._bytes, key=lambda key: -self._bytes[key]):
                rows = self._rows[key]
                index = 1 if rows and rows[0].dispatched else 0
                if index < len(rows):
                    victims.append(self._remove(rows, index))
                    break
            else:
                break  # only rows that are being sent are left
        return victims

    def _remove(self, rows: deque[Row], index: int) -> Row:
        row = rows[index]
        del rows[index]
        self._bytes[row.key] -= len(row.body)
        return row
