"""Records as OTLP: what a receiver reads is what the record says."""

import math
from dataclasses import asdict
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otel_agent import wire
from otel_agent.hub.export import body, encode, json, signals
from support.otlp_decode import decode

TRACE, SPAN, PARENT = bytes(range(1, 17)), bytes(range(1, 9)), bytes(range(2, 10))
SCOPE = ("my.scope", "1.2", "https://opentelemetry.io/schemas/1.40.0", {"team": "blue"})
EVENT_NAME = "event_name" in LogRecord.DESCRIPTOR.fields_by_name
RESOURCE: dict[str, Any] = {"service.name": "shop", "process.pid": 7}


def span(**changes: Any) -> wire.Span:
    values: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_id": PARENT,
        "parent_is_remote": True,
        "trace_state": "a=1,b=2",
        "flags": 1,
        "name": "GET /items/{id}",
        "kind": 2,
        "start": 1_000,
        "end": 2_000,
        "attributes": {"http.route": "/items/{id}", "code": 200, "ratio": 0.5, "ok": True, "tags": ["a", "b"]},
        "events": [("exception", 1_500, {"exception.type": "ValueError"})],
        "links": [(TRACE[::-1], SPAN[::-1], "c=3", 1, {"why": "batch"})],
        "status": 2,
        "status_message": "boom",
        "scope": SCOPE,
        "dropped": (1, 2, 3),
    }
    return wire.Span(**{**values, **changes})


def log(**changes: Any) -> wire.Log:
    values: dict[str, Any] = {
        "time": 1_000,
        "observed": 1_001,
        "severity": 17,
        "severity_text": "ERROR",
        "body": {"text": "it broke", "parts": [1, None, {"deep": b"\x00"}]},
        "attributes": {"code.function": "f"},
        "trace_id": TRACE,
        "span_id": SPAN,
        "flags": 1,
        "event_name": "my.event",
        "scope": SCOPE,
    }
    return wire.Log(**{**values, **changes})


def received(path: str, message: Any, *, as_json: bool = False) -> list[dict[str, Any]]:
    data = json.dump(message) if as_json else message.SerializeToString()
    return [asdict(one) for one in decode(path, data, is_json=as_json) or ()]


@pytest.mark.parametrize("as_json", [False, True])
def test_span(as_json: bool) -> None:
    """Every field of a span arrives, in protobuf and in JSON."""
    message, failed = encode.spans([(RESOURCE, span())])
    assert failed == 0
    assert received("/v1/traces", message, as_json=as_json) == [
        {
            "name": "GET /items/{id}",
            "kind": "SERVER",
            "trace_id": TRACE.hex(),
            "span_id": SPAN.hex(),
            "parent_span_id": PARENT.hex(),
            "attributes": {
                "http.route": "/items/{id}",
                "code": 200,
                "ratio": 0.5,
                "ok": True,
                "tags": ["a", "b"],
            },
            "events": [{"name": "exception", "attributes": {"exception.type": "ValueError"}, "time": 1_500}],
            "links": [
                {
                    "trace_id": TRACE[::-1].hex(),
                    "span_id": SPAN[::-1].hex(),
                    "attributes": {"why": "batch"},
                    "trace_state": "c=3",
                }
            ],
            "status_code": "ERROR",
            "status_message": "boom",
            "start": 1_000,
            "end": 2_000,
            "scope": {
                "name": "my.scope",
                "version": "1.2",
                "schema_url": "https://opentelemetry.io/schemas/1.40.0",
                "attributes": {"team": "blue"},
            },
            "resource": RESOURCE,
            "trace_state": "a=1,b=2",
            "flags": 0x301,
        }
    ]
    sent = message.resource_spans[0].scope_spans[0].spans[0]
    assert (sent.dropped_attributes_count, sent.dropped_events_count, sent.dropped_links_count) == (1, 2, 3)


@pytest.mark.parametrize("as_json", [False, True])
def test_log(as_json: bool) -> None:
    """Every field of a log record arrives, in protobuf and in JSON."""
    message, failed = encode.logs([(RESOURCE, log())])
    assert failed == 0
    assert received("/v1/logs", message, as_json=as_json) == [
        {
            "body": {"text": "it broke", "parts": [1, None, {"deep": b"\x00"}]},
            "severity": 17,
            "severity_text": "ERROR",
            "attributes": {"code.function": "f"} if EVENT_NAME else {"event.name": "my.event", "code.function": "f"},
            "trace_id": TRACE.hex(),
            "span_id": SPAN.hex(),
            "resource": RESOURCE,
            "event_name": "my.event" if EVENT_NAME else "",
            "scope": {
                "name": "my.scope",
                "version": "1.2",
                "schema_url": "https://opentelemetry.io/schemas/1.40.0",
                "attributes": {"team": "blue"},
            },
            "time": 1_000,
            "observed_time": 1_001,
        }
    ]


def test_json_form() -> None:
    """OTLP/JSON has hex ids, enums as numbers and 64-bit integers as strings."""
    message, _ = encode.spans([(RESOURCE, span())])
    text = json.dump(message).decode()
    assert f'"traceId":"{TRACE.hex()}"' in text
    assert '"kind":2' in text
    assert '"startTimeUnixNano":"1000"' in text
    assert json.load(text.encode(), signals.SIGNALS["traces"].request()) == message


def test_as_upstream() -> None:
    """The encoding equals upstream's encode_spans for what upstream can say."""
    context = SpanContext(int.from_bytes(TRACE, "big"), int.from_bytes(SPAN, "big"), False)
    parent = SpanContext(int.from_bytes(TRACE, "big"), int.from_bytes(PARENT, "big"), True)
    name, version, schema_url, attributes = SCOPE
    theirs = encode_spans(
        [
            ReadableSpan(
                "GET",
                context,
                parent,
                Resource(RESOURCE),
                {"a": 1, "b": ["x"], "c": 0.5, "d": True},
                [Event("e", {"k": "v"}, 1_500)],
                [Link(context, {"k": "v"})],
                SpanKind.CLIENT,
                None,
                Status(StatusCode.ERROR, "boom"),
                1_000,
                2_000,
                InstrumentationScope(name, version, schema_url, attributes),
            )
        ]
    )
    ours, _ = encode.spans(
        [
            (
                RESOURCE,
                span(
                    name="GET",
                    kind=3,
                    trace_state="",
                    flags=0,
                    attributes={"a": 1, "b": ["x"], "c": 0.5, "d": True},
                    events=[("e", 1_500, {"k": "v"})],
                    links=[(TRACE, SPAN, "", int(TraceFlags.DEFAULT), {"k": "v"})],
                    dropped=(0, 0, 0),
                ),
            )
        ]
    )
    for link in theirs.resource_spans[0].scope_spans[0].spans[0].links:
        link.flags = 0  # upstream says that the link is not remote; the record does not know
    mine, other = ours.resource_spans[0], theirs.resource_spans[0]
    # Upstream of 1.30 leaves out attributes and schema of the scope.
    if other.scope_spans[0].scope.attributes:
        assert ours == theirs
    assert mine.resource == other.resource
    assert mine.scope_spans[0].spans == other.scope_spans[0].spans


def test_grouping() -> None:
    """Records are grouped by resource and scope, each written once."""
    other: dict[str, Any] = {"service.name": "other"}
    scope: tuple[str, str, str, dict[str, Any]] = ("my.scope", "1.2", "", {})
    records = [(RESOURCE, span()), (other, span()), (RESOURCE, span(scope=scope)), (RESOURCE, span())]
    message, _ = encode.spans(records)
    groups = [[len(scope.spans) for scope in resource.scope_spans] for resource in message.resource_spans]
    assert groups == [[2, 1], [1]]


HOSTILE = {
    "lone": "a\ud800b",
    "lo\udcffne": "key",
    "pair": "\ud83d\ude00",
    "big": 1 << 64,
    "small": -(1 << 63),
    "holes": [1, None, "x"],
    "map": {"a": {"b": [1, 1 << 70]}},
    "bytes": b"\xff",
    "none": None,
    "empty": [],
    "object": object,
}
CLEAN = {
    "lone": "a�b",
    "lo�ne": "key",
    "pair": "😀",
    "big": "18446744073709551616",
    "small": -(1 << 63),
    "holes": [1, None, "x"],
    "map": {"a": {"b": [1, "1180591620717411303424"]}},
    "bytes": b"\xff",
    "none": None,
    "empty": [],
    "object": "<class 'object'>",
}


def test_hostile_values() -> None:
    """A value that OTLP cannot carry costs neither its record nor the batch; the rest of the record is unchanged."""
    records = [(RESOURCE, span()), (RESOURCE, span(name="x\ud800", attributes=HOSTILE)), (RESOURCE, span(name="z"))]
    message, failed = encode.spans(records)
    spans = received("/v1/traces", message)
    assert failed == 0
    assert [one["name"] for one in spans] == ["GET /items/{id}", "x�", "z"]
    assert spans[1]["attributes"] == CLEAN
    logs, failed = encode.logs([(RESOURCE, log(body=HOSTILE, attributes=HOSTILE))])
    assert failed == 0
    assert received("/v1/logs", logs)[0]["body"] == CLEAN
    assert received("/v1/logs", logs)[0]["attributes"] == (CLEAN if EVENT_NAME else {"event.name": "my.event", **CLEAN})


@pytest.mark.parametrize("as_json", [False, True])
def test_nan(as_json: bool) -> None:
    """NaN and infinities arrive as themselves."""
    message, _ = encode.spans([(RESOURCE, span(attributes={"nan": math.nan, "inf": -math.inf}))])
    attributes = received("/v1/traces", message, as_json=as_json)[0]["attributes"]
    assert math.isnan(attributes["nan"])
    assert attributes["inf"] == -math.inf


def test_hostile_everywhere() -> None:
    """Strings and numbers out of range are taken in every slot of a record, its resource and its scope."""
    bad = "\udead"
    dirty = span(
        trace_state=bad,
        kind=99,
        flags=1 << 40,
        start=-1,
        end=1 << 65,
        events=[(bad, -5, {bad: bad})],
        links=[(TRACE, SPAN, bad, 1 << 40, {bad: bad})],
        status=7,
        status_message=bad,
        scope=(bad, bad, bad, {bad: bad}),
        dropped=(-1, 1 << 40, 0),
    )
    message, failed = encode.spans([({bad: bad, "n": 1 << 64}, dirty)])
    one = received("/v1/traces", message)[0]
    assert failed == 0
    assert (one["kind"], one["start"], one["end"], one["status_code"]) == ("UNSPECIFIED", 0, 2**64 - 1, "UNSET")
    assert one["resource"] == {"�": "�", "n": "18446744073709551616"}
    _, failed = encode.logs([({}, log(time=-1, severity=99, severity_text=bad, event_name=bad, trace_id=b"x"))])
    assert failed == 0


def test_deep_nesting() -> None:
    """A value nested so deeply that parsers refuse it is cut, the batch stays readable."""
    deep: Any = "bottom"
    for _ in range(60):
        deep = {"d": [deep]}
    message, failed = encode.spans([(RESOURCE, span(attributes={"deep": deep}))])
    assert failed == 0
    assert "nested too deeply" in str(received("/v1/traces", message)[0]["attributes"])


def test_without_identity() -> None:
    """A span without valid ids is counted and left out; the others of the batch are not touched."""
    message, failed = encode.spans([(RESOURCE, span(trace_id=b"short")), (RESOURCE, span(name="good"))])
    assert failed == 1
    assert [one["name"] for one in received("/v1/traces", message)] == ["good"]


def test_halves() -> None:
    """Halving keeps order, resources and scopes, and loses and doubles no record."""
    other = {"service.name": "other"}
    records = [(RESOURCE if n < 3 else other, span(name=str(n))) for n in range(5)]
    message, _ = encode.spans(records)
    parts = signals.halves("traces", message)
    assert parts is not None
    first, second = (received("/v1/traces", part) for part in parts)
    assert [one["name"] for one in first] == ["0", "1"]
    assert [(one["name"], one["resource"]["service.name"]) for one in second] == [
        ("2", "shop"),
        ("3", "other"),
        ("4", "other"),
    ]
    assert [len(part.resource_spans) for part in parts] == [1, 2]
    assert signals.halves("traces", encode.spans(records[:1])[0]) is None


@pytest.mark.parametrize("form", [("http/protobuf", "gzip"), ("http/json", "deflate"), ("grpc", "none")])
def test_packing(form: body.Form) -> None:
    """The same message gives the same bytes each time, and they can be read again."""
    message, _ = encode.spans([(RESOURCE, span()), (RESOURCE, span())])
    data = body.pack(message, form)
    assert data == body.pack(message, form)
    assert body.unpack("traces", data, form) == message
    assert [records for _, records in body.halved("traces", data, form)] == [1, 1]


def test_cut() -> None:
    """A request over 2 MiB is cut into parts below it that hold every record once, in order."""
    records = [(RESOURCE, span(name=str(n), attributes={"text": "x" * 60_000})) for n in range(80)]
    parts = body.cut("traces", encode.spans(records)[0])
    assert all(part.ByteSize() <= body.MAX_BYTES for part in parts)
    names = [one["name"] for part in parts for one in received("/v1/traces", part)]
    assert names == [str(n) for n in range(80)]
