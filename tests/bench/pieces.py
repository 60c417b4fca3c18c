"""Micro-benchmarks of the pieces in the app process: microseconds of CPU, best of five.

    python tests/bench/pieces.py [--count 20000]

Runs itself injected, with its channel going to a test hub in this process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

BUDGETS = {
    "span, 5 attributes, sampled": 4.0,
    "span, 5 attributes, not sampled": 1.5,
    "counter.add, 5 attributes": 1.5,
    "histogram.record, 5 attributes": 1.5,
}


def best(count: int, run: Callable[[int], None]) -> float:
    """Microseconds of this process's CPU per repetition, best of five."""
    times = []
    for _ in range(5):
        began = time.process_time()
        run(count)
        times.append(time.process_time() - began)
    return 1e6 * min(times) / count


def inside(count: int) -> None:
    """Measure; runs in the injected process."""
    from opentelemetry import metrics, trace

    attributes: dict[str, str | int | float | bool] = {"a": "one", "b": "two", "c": 3, "d": 4.5, "e": True}
    tracer, meter = trace.get_tracer("bench"), metrics.get_meter("bench")
    counter, histogram = meter.create_counter("c"), meter.create_histogram("h")
    unsampled = trace.set_span_in_context(
        trace.NonRecordingSpan(trace.SpanContext(1, 1, True, trace.TraceFlags(0), trace.TraceState()))
    )

    def spans(count: int) -> None:
        for _ in range(count):
            tracer.start_span("name", attributes=attributes).end()

    def not_sampled(count: int) -> None:
        for _ in range(count):
            tracer.start_span("name", unsampled, attributes=attributes).end()

    def add(count: int) -> None:
        for _ in range(count):
            counter.add(1, attributes)

    def record(count: int) -> None:
        for _ in range(count):
            histogram.record(0.5, attributes)

    print("| piece | CPU | budget |")
    print("|---|---|---|")
    for (name, budget), run in zip(BUDGETS.items(), (spans, not_sampled, add, record), strict=True):
        print(f"| {name} | {best(count, run):.2f} us | {budget} us |")


def main() -> int:
    """Start the injected process and show what it measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments.count)
        return 0
    from otel_agent.supervisor.launch import app_environ
    from support.agent import clean_environ
    from support.recording_hub import RecordingHub

    with RecordingHub() as hub:
        environ = app_environ(clean_environ(OTEL_AGENT_STRICT=""), hub.path, "bench")
        command = [sys.executable, __file__, "--inside", "--count", str(arguments.count)]
        return subprocess.run(command, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
