"""The MeterProvider: measurements arrive with instrument, attributes and exemplar ids."""

from otel_agent import wire
from support.agent import run_worker
from support.recording_hub import RecordingHub

API = """
from opentelemetry import metrics, trace
meter = metrics.get_meter("shop", "1")
"""


def measured(hub: RecordingHub, code: str, **environ: str) -> list[tuple[str, dict[str, object], float]]:
    """Run code that measures; (instrument, attributes, value) in order."""
    result = run_worker(hub.path, "-c", API + code, environ=environ)
    assert result.returncode == 0, result.stderr
    hub.wait_for(lambda hub: hub.of(wire.Goodbye))
    names = {one.id: one.name for one in hub.of(wire.DefineInstrument)}
    sets = {one.id: one.attributes for one in hub.of(wire.DefineAttributes)}
    return [(names[one.instrument], sets[one.attributes], one.value) for one in hub.of(wire.Measurement)]


def test_every_synchronous_instrument(hub: RecordingHub) -> None:
    """Counter, up-down counter, histogram and gauge: one measurement per call; forbidden amounts none."""
    assert measured(
        hub,
        """
counter = meter.create_counter("c", "By", "Bytes.")
counter.add(1, {"a": "x"}); counter.add(2.5, {"a": "x"}); counter.add(-1); counter.add(True); counter.add("7")
meter.create_up_down_counter("u").add(-2)
histogram = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 10])
histogram.record(3); histogram.record(-3)
meter.create_gauge("g").set(-4)
""",
    ) == [("c", {"a": "x"}, 1), ("c", {"a": "x"}, 2.5), ("u", {}, -2), ("h", {}, 3), ("g", {}, -4)]
    kinds = {one.name: (one.kind, one.unit, one.buckets) for one in hub.of(wire.DefineInstrument)}
    assert kinds == {
        "c": ("counter", "By", None),
        "u": ("updowncounter", "", None),
        "h": ("histogram", "", (1.0, 10.0)),
        "g": ("gauge", "", None),
    }


def test_the_same_instrument_is_defined_once(hub: RecordingHub) -> None:
    """Asking for an instrument again gives the same one, and an attribute set travels once."""
    measured(hub, 'for n in range(50): meter.create_counter("c").add(1, {"k": "v"})')
    distinct = {(one.id, one.name) for one in hub.of(wire.DefineInstrument)}
    assert (len(distinct), len({one.id for one in hub.of(wire.DefineAttributes)})) == (1, 1)


def test_exemplar_ids(hub: RecordingHub) -> None:
    """A measurement inside a sampled span carries its ids; outside it carries none."""
    measured(
        hub,
        """
counter = meter.create_counter("c")
counter.add(1)
with trace.get_tracer("t").start_as_current_span("s"): counter.add(2)
""",
    )
    first, second = hub.of(wire.Measurement)
    (span,) = hub.of(wire.Span)
    assert (first.trace_id, first.span_id) == (b"", b"")
    assert (second.trace_id, second.span_id) == (span.trace_id, span.span_id)


def test_observables_are_read(hub: RecordingHub) -> None:
    """Callbacks are called by us, at the interval and once more at the end; one that raises harms nothing."""
    seen = measured(
        hub,
        """
import time
def broken(options): raise RuntimeError
def good(options): yield metrics.Observation(5, {"k": 1})
meter.create_observable_gauge("broken", [broken])
meter.create_observable_counter("oc", [good])
meter.create_observable_up_down_counter("ou", [good])
time.sleep(0.4)
""",
        OTEL_AGENT_METRIC_INTERVAL="100ms",
    )
    assert {name for name, _, _ in seen} == {"oc", "ou"}
    assert all((attributes, value) == ({"k": 1}, 5) for _, attributes, value in seen)
    assert len(seen) >= 4


def test_unbounded_attributes_overflow(hub: RecordingHub) -> None:
    """Past 2,000 attribute sets an instrument records into one overflow set; no count is lost."""
    seen = measured(hub, 'c = meter.create_counter("c")\nfor n in range(2500): c.add(1, {"n": n})')
    assert len(seen) == 2500
    assert sum(value for _, attributes, value in seen if attributes == {"otel.metric.overflow": True}) == 500


def test_unhashable_and_odd_attributes(hub: RecordingHub) -> None:
    """Attribute values that cannot be dictionary keys work, and equal sets share one number."""
    seen = measured(hub, 'c = meter.create_counter("c")\nfor _ in range(3): c.add(1, {"list": [1, 2], "none": None})')
    assert seen == [("c", {"list": [1, 2]}, 1)] * 3
    assert len({one.id for one in hub.of(wire.DefineAttributes)}) == 1


def test_a_measurement_alone_arrives_without_exit(hub: RecordingHub) -> None:
    """Measurements arrive within the tail time although nothing follows them, and the covering thread goes away."""
    code = """
import os, sys, time, threading
c = meter.create_counter("c")
for _ in range(10): c.add(1)
sys.stdin.readline()
os._exit(0)
"""
    import subprocess
    import sys

    from otel_agent.supervisor.launch import app_environ
    from support.agent import clean_environ

    process = subprocess.Popen(
        [sys.executable, "-c", API + code], env=app_environ(clean_environ(), hub.path, "t"), stdin=subprocess.PIPE
    )
    try:
        hub.wait_for(lambda hub: sum(one.value for one in hub.of(wire.Measurement)) == 10)
    finally:
        process.communicate(b"\n", timeout=20)


def test_the_apps_own_provider_wins(hub: RecordingHub) -> None:
    """An app that sets its own MeterProvider keeps it, for instruments made before too."""
    seen = measured(
        hub,
        """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
counter = meter.create_counter("c")
histogram = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1])
counter.add(1)
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
counter.add(2, {"k": "v"}); histogram.record(3); metrics.get_meter("other").create_up_down_counter("u").add(1)
(resource,) = reader.get_metrics_data().resource_metrics
names = [metric.name for scope in resource.scope_metrics for metric in scope.metrics]
assert sorted(names) == ["c", "h", "u"], names
""",
    )
    assert seen == [("c", {}, 1)]
