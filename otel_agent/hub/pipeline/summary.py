"""The numbers a person asks for first, computed from the metric data: `GET /api/summary`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry.sdk.metrics.export import HistogramDataPoint, Metric, NumberDataPoint

Point = tuple[dict[str, Any], "NumberDataPoint | HistogramDataPoint"]
UNMATCHED = "<unmatched>"
# The latest name first; with OTEL_AGENT_GENAI_SEMCONV=1.36 only the earlier one has data.
CALLS = ("gen_ai.client.inference.duration", "gen_ai.client.operation.duration")
FIRST_CHUNK = ("gen_ai.client.inference.time_to_first_chunk", "gen_ai.client.operation.time_to_first_chunk")


class Spread:
    """Merged histograms of equal buckets."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self._bounds: tuple[float, ...] = ()
        self._counts: list[int] = []

    def add(self, point: HistogramDataPoint) -> None:
        """Add a point; one with other buckets than the first counts but does not shape the quantiles."""
        self.count += point.count
        self.sum += point.sum
        if not self._counts:
            self._bounds, self._counts = tuple(point.explicit_bounds), list(point.bucket_counts)
        elif self._bounds == tuple(point.explicit_bounds):
            self._counts = [a + b for a, b in zip(self._counts, point.bucket_counts, strict=True)]

    def quantile(self, share: float) -> float | None:
        """By linear interpolation inside the bucket, as Prometheus' histogram_quantile; None without observations.

        The last bucket has no end: its start stands for whatever is above.
        """
        rank = share * sum(self._counts)
        if not rank:
            return None
        below = 0
        for index, count in enumerate(self._counts[:-1]):
            if below + count >= rank:
                start = self._bounds[index - 1] if index else 0.0
                return start + (self._bounds[index] - start) * (rank - below) / count
            below += count
        return self._bounds[-1] if self._bounds else None

    @property
    def mean(self) -> float | None:
        """Mean of the observations, None without any."""
        return self.sum / self.count if self.count else None


def summary(service: str, metrics: Iterable[Metric]) -> dict[str, Any]:
    """Requests, queries, LLM calls by model and errors since the start; durations are seconds, first chunks a mean."""
    points: dict[str, list[Point]] = defaultdict(list)
    for metric in metrics:
        points[metric.name] += _points(metric)
    return {
        "service": service,
        "requests": _requests(points["http.server.request.duration"]),
        "queries": _queries(points["db.client.operation.duration"]),
        "models": _models(points),
        "errors": _errors(points["http.server.request.duration"]),
    }


def _points(metric: Metric) -> Iterator[Point]:
    for point in metric.data.data_points:
        if isinstance(point, NumberDataPoint | HistogramDataPoint):
            yield dict(point.attributes or {}), point


def _spreads(points: Iterable[Point], *keys: str) -> dict[tuple[Any, ...], Spread]:
    result: dict[tuple[Any, ...], Spread] = defaultdict(Spread)
    for attributes, point in points:
        if isinstance(point, HistogramDataPoint):
            result[tuple(attributes.get(key) for key in keys)].add(point)
    return result


def _most_first(rows: list[dict[str, Any]], key: str = "count") -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -int(row[key]))


def _requests(points: list[Point]) -> list[dict[str, Any]]:
    return _most_first(
        [
            {"method": method, "route": route or UNMATCHED, "count": all_.count, "p95_seconds": all_.quantile(0.95)}
            for (method, route), all_ in _spreads(points, "http.request.method", "http.route").items()
        ]
    )


def _queries(points: list[Point]) -> list[dict[str, Any]]:
    return _most_first(
        [
            {"system": system, "operation": operation, "count": all_.count, "p95_seconds": all_.quantile(0.95)}
            for (system, operation), all_ in _spreads(points, "db.system.name", "db.operation.name").items()
        ]
    )


def _errors(points: list[Point]) -> list[dict[str, Any]]:
    keys = ("http.request.method", "http.route", "error.type")
    return _most_first(
        [
            {"method": method, "route": route or UNMATCHED, "type": kind, "count": all_.count}
            for (method, route, kind), all_ in _spreads(points, *keys).items()
            if kind is not None
        ]
    )


def _models(points: dict[str, list[Point]]) -> list[dict[str, Any]]:
    calls = _by_model(points, CALLS)
    first_chunks = _by_model(points, FIRST_CHUNK)
    tokens = {kind: _tokens(points, kind) for kind in ("input", "output")}
    rows = []
    for model in dict.fromkeys((*calls, *first_chunks, *tokens["input"], *tokens["output"])):
        first = first_chunks.get(model)
        row = {
            "model": model,
            "calls": calls[model].count if model in calls else 0,
            "input_tokens": int(tokens["input"].get(model, 0)),
            "output_tokens": int(tokens["output"].get(model, 0)),
            "time_to_first_chunk_seconds": first.mean if first else None,
        }
        rows.append(row)
    return _most_first(rows, "calls")


def _by_model(points: dict[str, list[Point]], names: tuple[str, ...]) -> dict[str, Spread]:
    """The spreads of the first of `names` that has data: the others repeat it."""
    for name in names:
        if points.get(name):
            return {str(model): all_ for (model,), all_ in _spreads(points[name], "gen_ai.request.model").items()}
    return {}


def _tokens(points: dict[str, list[Point]], kind: str) -> dict[str, float]:
    """Tokens by model: the usage counters, or what only their earlier histogram has."""
    result: dict[str, float] = defaultdict(float)
    latest = points.get(f"gen_ai.client.inference.usage.{kind}_tokens")
    earlier = points.get("gen_ai.client.token.usage", [])
    for attributes, point in latest or [pair for pair in earlier if pair[0].get("gen_ai.token.type") == kind]:
        value = point.value if isinstance(point, NumberDataPoint) else point.sum
        result[str(attributes.get("gen_ai.request.model"))] += value
    return result
