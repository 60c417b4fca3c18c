"""The series behind one SDK instrument, shared by all workers.

Sums and gauges are kept here and shown to the SDK as observable instruments: adding to a number costs a tenth of the
SDK's own `add`, once per reader, and taking back what an ended worker left is a subtraction. Histograms are the SDK's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from opentelemetry.metrics import CallbackOptions, Observation

SERIES_LIMIT = 2000
OVERFLOW: dict[str, Any] = {"otel.metric.overflow": True}
_encode = msgspec.msgpack.Encoder().encode


def key_of(attributes: dict[str, Any]) -> bytes:
    """Equal for equal attribute sets in any order; unlike a hash it tells 1, 1.0 and True apart."""
    return _encode(sorted(attributes.items()))


class Cell:
    """One series: its attributes and its current value."""

    __slots__ = ("attributes", "value")

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self.value: int | float = 0


class Family:
    """The series of one instrument; at most SERIES_LIMIT, then all further ones are one overflow series."""

    def __init__(self) -> None:
        self.cells: dict[Any, Cell] = {}
        self.histogram: Any = None

    def cell(self, attributes: dict[str, Any], worker: int | None = None) -> tuple[Any, Cell]:
        """(key, series) of an attribute set; `worker` keeps the series of different workers apart."""
        key: Any = key_of(attributes)
        if worker is not None:
            key = (worker, key)
            attributes = {**attributes, "otel_agent.worker": worker}
        found = self.cells.get(key)
        if found is None:
            if len(self.cells) >= SERIES_LIMIT:
                key, attributes = "overflow", OVERFLOW
                found = self.cells.get(key)
            if found is None:
                found = self.cells[key] = Cell(attributes)
        return key, found

    def observe(self, options: CallbackOptions) -> Iterable[Observation]:
        """All series, for the SDK; called in the thread of whichever reader collects."""
        return [Observation(cell.value, cell.attributes) for cell in list(self.cells.values())]
