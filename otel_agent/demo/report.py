"""The demo's summary as text, from the hub's /api/summary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def total_requests(summary: dict[str, Any]) -> int:
    """Requests the hub has counted so far."""
    return sum(int(row["count"]) for row in summary["requests"])


def text(summary: dict[str, Any], hub_url: str, app_url: str) -> str:
    """The summary with one table per area, then the URLs."""
    parts = [
        _table(
            ("requests", "count", "p95"),
            ((row["route"], row["count"], _milliseconds(row["p95_seconds"])) for row in summary["requests"]),
        ),
        _table(
            ("queries", "count", "p95"),
            ((row["operation"], row["count"], _milliseconds(row["p95_seconds"])) for row in summary["queries"]),
        ),
        _table(
            ("model", "calls", "input tokens", "output tokens", "first token"),
            (
                (
                    row["model"],
                    row["calls"],
                    row["input_tokens"],
                    row["output_tokens"],
                    _milliseconds(row["time_to_first_chunk_seconds"]),
                )
                for row in summary["models"]
            ),
        ),
        _table(("errors", "type", "count"), ((row["route"], row["type"], row["count"]) for row in summary["errors"])),
    ]
    urls = f"app      {app_url}/docs\nmetrics  {hub_url}/metrics\nhealth   {hub_url}/health\n"
    return "\n".join([*parts, urls])


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.1f} ms"


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    first, *others = widths
    made = [
        "  ".join([line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others, strict=True))])
        for line in lines
    ]
    made.insert(1, "-" * len(made[0]))
    return "\n".join(made) + "\n"
