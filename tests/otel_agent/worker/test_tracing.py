"""The TracerProvider: what an app does with the OpenTelemetry API arrives as it would through the SDK."""

from otel_agent import wire
from support.agent import run_worker
from support.recording_hub import RecordingHub

API = """
from opentelemetry import trace
tracer = trace.get_tracer("shop", "1.2", schema_url="https://example.com/s", attributes={"team": "a"})
"""


def spans_of(hub: RecordingHub, code: str, **environ: str) -> dict[str, wire.Span]:
    """Run code that makes spans; the spans by name."""
    result = run_worker(hub.path, "-c", API + code, environ=environ)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    hub.wait_for(lambda hub: hub.of(wire.Goodbye))
    return {span.name: span for span in hub.of(wire.Span)}


def test_parent_and_trace_ids(hub: RecordingHub) -> None:
    """A child has its parent's trace id and the parent's span id as parent; a root has none."""
    spans = spans_of(
        hub,
        """
with tracer.start_as_current_span("outer"):
    with tracer.start_as_current_span("inner", kind=trace.SpanKind.CLIENT):
        pass
tracer.start_span("alone", context=trace.set_span_in_context(trace.INVALID_SPAN)).end()
""",
    )
    outer, inner, alone = spans["outer"], spans["inner"], spans["alone"]
    assert (inner.trace_id, inner.parent_id) == (outer.trace_id, outer.span_id)
    assert (outer.parent_id, alone.parent_id) == (b"", b"")
    assert alone.trace_id != outer.trace_id
    assert (inner.kind, outer.kind) == (3, 1)
    assert outer.scope == ("shop", "1.2", "https://example.com/s", {"team": "a"})
    assert outer.start <= inner.start <= inner.end <= outer.end


def test_remote_parent(hub: RecordingHub) -> None:
    """A span below a remote parent carries on its trace, state and flags."""
    spans = spans_of(
        hub,
        """
from opentelemetry import propagate
carrier = {"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01", "tracestate": "vendor=1"}
tracer.start_span("served", context=propagate.extract(carrier)).end()
""",
    )
    served = spans["served"]
    assert (served.trace_id, served.parent_id) == (bytes.fromhex("ab" * 16), bytes.fromhex("cd" * 8))
    assert (served.parent_is_remote, served.trace_state, served.flags) == (True, "vendor=1", 1)


def test_attributes_events_links_status(hub: RecordingHub) -> None:
    """Attributes, events, links and status arrive as set; what the API forbids is left out."""
    spans = spans_of(
        hub,
        """
with tracer.start_as_current_span("other") as other: pass
span = tracer.start_span("s", attributes={"a": 1}, links=[trace.Link(other.get_span_context(), {"l": 1})],
                         start_time=1000)
span.set_attribute("b", [1, 2]); span.set_attribute("none", None); span.set_attribute("", 1)
span.set_attributes({"a": 2, "c": 1.5, "d": True})
span.add_event("happened", {"e": "x"}, timestamp=1500)
span.update_name("renamed")
span.set_status(trace.StatusCode.ERROR, "broken")
span.set_status(trace.StatusCode.OK)
span.set_status(trace.StatusCode.ERROR, "too late")
span.end(end_time=2000)
span.set_attribute("late", 1); span.end(end_time=3000)
""",
    )
    span = spans["renamed"]
    assert span.attributes == {"a": 2, "b": [1, 2], "c": 1.5, "d": True}
    assert span.events == [("happened", 1500, {"e": "x"})]
    assert [(link[1], link[4]) for link in span.links] == [(spans["other"].span_id, {"l": 1})]
    assert (span.status, span.status_message) == (1, "")
    assert (span.start, span.end) == (1000, 2000)
    assert len(hub.of(wire.Span)) == 2


def test_exception_in_a_block(hub: RecordingHub) -> None:
    """An exception that leaves a block is recorded once, sets the status, and goes on unchanged."""
    spans = spans_of(
        hub,
        """
@tracer.start_as_current_span("decorated")
def fail():
    raise KeyError("k")
try:
    fail()
except KeyError as error:
    assert error.args == ("k",)
""",
    )
    span = spans["decorated"]
    assert (span.status, span.status_message) == (2, "KeyError: 'k'")
    ((name, _, attributes),) = span.events
    assert (name, attributes["exception.type"], attributes["exception.message"]) == ("exception", "KeyError", "'k'")
    assert attributes["exception.stacktrace"].startswith("Traceback")


def test_async_decorator_and_tasks(hub: RecordingHub) -> None:
    """Tasks started in a span are its children, also through an async decorator."""
    spans = spans_of(
        hub,
        """
import asyncio
async def child(n):
    with tracer.start_as_current_span(f"child{n}"):
        await asyncio.sleep(0)
@tracer.start_as_current_span("root")
async def main():
    await asyncio.gather(child(1), child(2))
asyncio.run(main())
""",
    )
    assert {spans["child1"].parent_id, spans["child2"].parent_id} == {spans["root"].span_id}


def test_limits(hub: RecordingHub) -> None:
    """Span limits hold and what they drop is counted."""
    spans = spans_of(
        hub,
        """
span = tracer.start_span("s", attributes={f"k{n}": n for n in range(5)})
span.set_attribute("text", "x" * 50)
for n in range(4): span.add_event(f"e{n}")
span.set_attribute("k0", "y" * 50)
span.end()
""",
        OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="3",
        OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="10",
        OTEL_SPAN_EVENT_COUNT_LIMIT="2",
    )
    span = spans["s"]
    assert span.attributes == {"k0": "y" * 10, "k1": 1, "k2": 2}
    assert ([event[0] for event in span.events], span.dropped) == (["e0", "e1"], (3, 2, 0))


def test_unsampled_spans_stay(hub: RecordingHub) -> None:
    """An unsampled trace sends nothing, yet carries valid ids; a sampled remote parent is followed."""
    spans = spans_of(
        hub,
        """
from opentelemetry import propagate
with tracer.start_as_current_span("no") as span:
    assert span.get_span_context().is_valid and not span.is_recording()
    tracer.start_span("child").end()
carrier = {"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"}
tracer.start_span("yes", context=propagate.extract(carrier)).end()
""",
        OTEL_TRACES_SAMPLER="parentbased_always_off",
    )
    assert list(spans) == ["yes"]


def test_ratio_sampler_agrees_with_the_sdk(hub: RecordingHub) -> None:
    """traceidratio samples the very traces the SDK's sampler does."""
    code = """
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from otel_agent.worker.sampling import named
import random
theirs, ours = TraceIdRatioBased(0.25), named("traceidratio", "0.25")
for _ in range(5000):
    trace_id = random.getrandbits(128)
    decision = theirs.should_sample(None, trace_id, "").decision
    assert ours(None, trace_id, "", None, None, None)[0] == decision.is_sampled()
"""
    result = run_worker(hub.path, "-c", code)
    assert result.returncode == 0, result.stderr


def test_foreign_span_processor(hub: RecordingHub) -> None:
    """A processor the app adds to the global provider gets real ReadableSpans, and we still get ours."""
    spans = spans_of(
        hub,
        """
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
with tracer.start_as_current_span("both", attributes={"a": 1}): pass
(span,) = exporter.get_finished_spans()
assert isinstance(span, ReadableSpan) and dict(span.attributes) == {"a": 1}
assert trace.get_tracer_provider().force_flush()
""",
    )
    assert list(spans) == ["both"]


def test_the_apps_own_provider_wins(hub: RecordingHub) -> None:
    """An app that sets its own TracerProvider keeps it, for our tracers too, and one line says what that costs."""
    spans = spans_of(
        hub,
        """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
tracer.start_span("before").end()
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
assert trace.get_tracer_provider() is provider
tracer.start_span("after").end()
assert [span.name for span in exporter.get_finished_spans()] == ["after"]
""",
    )
    assert list(spans) == ["before"]
    (line,) = hub.of(wire.Diagnostic)
    assert line.text.startswith("the app set its own tracer provider")


def test_hostile_values(hub: RecordingHub) -> None:
    """Surrogates, huge integers, cycles and raising objects cost a value, never the record or the app."""
    spans = spans_of(
        hub,
        """
class Raises:
    def __str__(self): raise RuntimeError
    __repr__ = __str__
class Error(Exception):
    def __str__(self): raise RuntimeError
cycle = []; cycle.append(cycle)
with tracer.start_as_current_span("bad\\udc80name") as span:
    span.set_attributes({"surrogate": "a\\udc80b", "huge": 2**70, "nan": float("nan"), "cycle": cycle,
                         "raises": Raises(), "bytes": b"\\xff", "key\\ud800": 1, "long": "x" * 10000})
    span.record_exception(Error())
""",
    )
    (span,) = spans.values()
    assert span.name == "bad?name"
    attributes = span.attributes
    assert (attributes["surrogate"], attributes["huge"], attributes["raises"]) == ("a?b", str(2**70), "<Raises>")
    assert (attributes["bytes"], attributes["key?"], len(attributes["long"])) == ("<unrepresentable>", 1, 4096)
    assert span.events[0][2]["exception.message"] == "<unrepresentable>"
