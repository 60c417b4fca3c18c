"""The OTLP receiver of the tests: what it takes, what it refuses, how it is scripted."""

import gzip
import http.client
import json
import urllib.error
import urllib.request
from collections import deque

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.otlp_receiver import OtlpReceiver, ReceivedEvent, ReceivedLink

TRACE_ID = "0102030405060708090a0b0c0d0e0f10"
SPAN_ID = "0102030405060708"

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, dict(reply.headers), reply.read()
    except urllib.error.HTTPError as reply:
        with reply:
            return reply.code, dict(reply.headers), reply.read()


def one_span(name: str = "GET /items/{id}", span_id: str = SPAN_ID) -> bytes:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name=name)
    span.trace_id, span.span_id = bytes.fromhex(TRACE_ID), bytes.fromhex(span_id)
    body: bytes = request.SerializeToString()
    return body


def test_json_ids_are_hex() -> None:
    """OTLP/JSON carries ids in hex; every field of a span is read from it."""
    span = {
        "name": "charge",
        "kind": 3,
        "traceId": TRACE_ID,
        "spanId": SPAN_ID,
        "parentSpanId": "1112131415161718",
        "startTimeUnixNano": "1000",
        "endTimeUnixNano": "2000",
        "attributes": [
            {"key": "traceId", "value": {"stringValue": "not an id"}},
            {"key": "tries", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"doubleValue": 2.5}]}}},
            {"key": "nested", "value": {"kvlistValue": {"values": [{"key": "ok", "value": {"boolValue": True}}]}}},
        ],
        "events": [{"name": "retry", "timeUnixNano": "1500"}],
        "links": [{"traceId": TRACE_ID, "spanId": SPAN_ID}],
        "status": {"code": 2, "message": "declined"},
        "aFieldOfTheFuture": 1,
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    scoped = {"scope": {"name": "billing", "version": "1.2"}, "spans": [span]}
    body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scoped]}]}).encode()
    with OtlpReceiver() as receiver:
        status, headers, answer = post(f"{receiver.endpoint}/v1/traces", body, JSON)
        (received,) = receiver.spans
    assert (status, headers["Content-Type"], answer) == (200, "application/json", b"{}")
    assert (received.name, received.kind) == ("charge", "CLIENT")
    assert (received.trace_id, received.span_id, received.parent_span_id) == (TRACE_ID, SPAN_ID, "1112131415161718")
    assert received.attributes == {"traceId": "not an id", "tries": [1, 2.5], "nested": {"ok": True}}
    assert received.events == [ReceivedEvent("retry", {}, 1500)]
    assert received.links == [ReceivedLink(TRACE_ID, SPAN_ID, {})]
    assert (received.status_code, received.status_message) == ("ERROR", "declined")
    assert (received.start, received.end, received.resource) == (1000, 2000, {"service.name": "shop"})
    assert (received.scope.name, received.scope.version) == ("billing", "1.2")


def test_gzip_is_read_and_kept() -> None:
    """A compressed body is decoded; the request keeps its bytes and headers as they were sent."""
    sent = gzip.compress(one_span())
    with OtlpReceiver() as receiver:
        post(f"{receiver.endpoint}/v1/traces", sent, PROTOBUF | {"Content-Encoding": "gzip", "X-Tenant": "a"})
        assert [span.name for span in receiver.spans] == ["GET /items/{id}"]
        (request,) = receiver.requests
    assert (request.path, request.body, request.payload) == ("/v1/traces", sent, one_span())
    assert request.headers["x-tenant"] == "a"


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/traces", b"\xff not protobuf", PROTOBUF, 400),
        ("/v1/traces", b"{", JSON, 400),
        ("/v1/traces", b"not gzip", PROTOBUF | {"Content-Encoding": "gzip"}, 400),
        ("/v1/traces", one_span(span_id="0000000000000000"), PROTOBUF, 400),
        ("/v1/traces", one_span(span_id="01"), PROTOBUF, 400),
        ("/v1/traces", one_span(), {"Content-Type": "text/plain"}, 415),
        ("/v1/traces", one_span(), PROTOBUF | {"Content-Encoding": "br"}, 415),
        ("/v1/elsewhere", one_span(), PROTOBUF, 404),
    ],
)
def test_what_is_not_otlp_is_refused(path: str, body: bytes, headers: dict[str, str], status: int) -> None:
    """A request no backend would take gets a 4xx, is recorded, and brings nothing."""
    with OtlpReceiver() as receiver:
        assert post(receiver.endpoint + path, body, headers)[0] == status
        assert (len(receiver.requests), receiver.spans) == (1, [])


def test_answers_are_used_up_in_order() -> None:
    """Scripted answers are given one per request, then 200; only what got a 2xx counts as accepted."""
    with OtlpReceiver() as receiver:
        receiver.answers = deque([(503, {"Retry-After": "1"}, b"busy"), lambda request: (202, {}, request.body)])
        url = f"{receiver.endpoint}/v1/traces"
        status, headers, body = post(url, one_span("refused"), PROTOBUF)
        assert (status, headers["Retry-After"], body) == (503, "1", b"busy")
        assert post(url, one_span("scripted"), PROTOBUF)[::2] == (202, one_span("scripted"))
        assert post(url, one_span("default"), PROTOBUF)[::2] == (200, b"")
        assert [span.name for span in receiver.spans] == ["scripted", "default"]
        assert len(receiver.requests) == 3


def test_an_answer_can_be_a_closed_connection() -> None:
    """An answer of None closes the connection unanswered; so does `hang`, when the receiver stops."""
    with OtlpReceiver() as receiver:
        receiver.answers.append(lambda request: None)
        client = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
        client.request("POST", "/v1/traces", one_span(), PROTOBUF)
        with pytest.raises(http.client.RemoteDisconnected):
            client.getresponse()
        receiver.answers.append(receiver.hang)
        client.request("POST", "/v1/traces", one_span(), PROTOBUF)
        receiver.wait_for(lambda got: len(got.requests) == 2)
        receiver.stop()
        with pytest.raises(ConnectionError):
            client.getresponse()
        client.close()
        assert receiver.spans == []


def test_a_stopped_receiver_comes_back_on_its_port() -> None:
    """After stop nothing answers, kept-alive connections included; after start the same address does."""
    with OtlpReceiver() as receiver:
        endpoint = receiver.endpoint
        client = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
        client.request("POST", "/v1/traces", one_span("before"), PROTOBUF)
        assert client.getresponse().read() == b""
        receiver.stop()
        client.auto_open = 0
        with pytest.raises((ConnectionError, http.client.NotConnected)):  # noqa: PT012 - either call may be the one
            client.request("POST", "/v1/traces", one_span("while down"), PROTOBUF)
            client.getresponse()
        client.close()
        with pytest.raises(urllib.error.URLError):
            post(f"{endpoint}/v1/traces", one_span("while down"), PROTOBUF)
        receiver.start()
        post(f"{endpoint}/v1/traces", one_span("after"), PROTOBUF)
        assert [span.name for span in receiver.spans] == ["before", "after"]


def test_wait_for_tells_what_arrived() -> None:
    """A wait that times out names what did arrive."""
    with OtlpReceiver() as receiver:
        post(f"{receiver.endpoint}/v1/traces", one_span("early"), PROTOBUF)
        assert receiver.wait_for(lambda got: got.spans)[0].name == "early"
        with pytest.raises(AssertionError, match="1 spans \\['early'\\]"):
            receiver.wait_for(lambda got: got.logs, timeout=0)
        receiver.clear()
        assert (receiver.spans, receiver.requests) == ([], [])
