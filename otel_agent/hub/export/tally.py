"""Counts of exported records (RELIABILITY section 3, I4): per destination, accepted = exported + queued + dropped."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any


class Tally:
    """Counters by signal ("span", "log", "metric") and destination; every method may be called by any thread."""

    def __init__(self, destinations: dict[str, list[str]]) -> None:
        """`destinations`: names of the destinations of each signal."""
        self._lock = threading.Lock()
        self._destinations = destinations
        self._accepted: dict[str, int] = defaultdict(int)
        self._exported: dict[tuple[str, str], int] = defaultdict(int)
        self._dropped: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def accept(self, signal: str, records: int) -> None:
        """Records that are to reach all destinations of the signal."""
        with self._lock:
            self._accepted[signal] += records

    def export(self, signal: str, destination: str, records: int) -> None:
        """Records a destination has taken."""
        with self._lock:
            self._exported[signal, destination] += records

    def drop(self, signal: str, reason: str, records: int, destination: str = "") -> None:
        """Records that will not reach a destination; without one, none of the signal."""
        if not records:
            return
        with self._lock:
            for name in [destination] if destination else self._destinations[signal]:
                self._dropped[signal, name][reason] += records

    def snapshot(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{signal: {destination: {"accepted", "exported", "queued", "dropped": {reason: records}}}}."""
        with self._lock:
            return {
                signal: {name: self._one(signal, name) for name in names}
                for signal, names in self._destinations.items()
            }

    def _one(self, signal: str, name: str) -> dict[str, Any]:
        accepted = self._accepted[signal]
        exported = self._exported[signal, name]
        dropped = dict(self._dropped[signal, name])
        queued = accepted - exported - sum(dropped.values())
        return {"accepted": accepted, "exported": exported, "queued": queued, "dropped": dropped}
