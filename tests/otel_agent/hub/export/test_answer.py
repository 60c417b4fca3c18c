"""The answer table of RELIABILITY section 7, row by row, as pure functions."""

from datetime import timezone
from email.utils import format_datetime

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage  # type: ignore[import-untyped]
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_agent.hub.export.answer import Action, grpc, http, retry_after

NOW = 1_700_000_000.0
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json; charset=utf-8"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "action", "reason"),
    [
        (200, PROTOBUF, b"", Action.DELIVERED, ""),
        (200, {}, b"", Action.DELIVERED, ""),
        (202, JSON, b"{}", Action.DELIVERED, ""),
        (200, JSON, b'{"partialSuccess":{}}', Action.DELIVERED, ""),
        (200, {"content-type": "text/plain"}, b"OK", Action.DELIVERED, ""),
        (200, PROTOBUF, b"\xff\xff", Action.DELIVERED, ""),
        (200, JSON, b"{", Action.DELIVERED, ""),
        (200, {"content-type": "text/html"}, b"", Action.RETRY, ""),
        (200, {}, b"  <!doctype html>", Action.RETRY, ""),
        (302, {"location": "https://login"}, b"", Action.RETRY, ""),
        (304, {}, b"", Action.RETRY, ""),
        (429, {}, b"", Action.RETRY, ""),
        (502, {}, b"", Action.RETRY, ""),
        (503, {}, b"", Action.RETRY, ""),
        (504, {}, b"", Action.RETRY, ""),
        (413, {}, b"", Action.SPLIT, "too_large"),
        (401, {}, b"", Action.REFUSED, "http_401"),
        (403, {}, b"", Action.REFUSED, "http_403"),
        (400, {}, b"", Action.DROP, "http_400"),
        (404, {}, b"", Action.DROP, "http_404"),
        (408, {}, b"", Action.DROP, "http_408"),
        (500, {}, b"", Action.DROP, "http_500"),
    ],
)
def test_status(status: int, headers: dict[str, str], body: bytes, action: Action, reason: str) -> None:
    """Each status has the action of its row."""
    found = http("traces", status, headers, body, NOW)
    assert (found.action, found.reason) == (action, reason)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}'),
        (JSON, b'{"partialSuccess":{"rejectedSpans":3,"errorMessage":"too old"}}'),
        (PROTOBUF, b"\x0a\x0b\x08\x03\x12\x07too old"),
    ],
)
def test_partial_success(headers: dict[str, str], body: bytes) -> None:
    """A partial success is a delivery that says how many records were rejected, and why."""
    found = http("traces", 200, headers, body, NOW)
    assert (found.action, found.rejected, found.problem) == (Action.DELIVERED, 3, "rejected 3 records: too old")


def test_partial_success_that_looks_like_html() -> None:
    """A protobuf answer whose first bytes read as a line feed and "<" is still an answer."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    response.partial_success.error_message = "x" * 56
    body = response.SerializeToString()
    assert body.startswith(b"\n<")
    assert http("traces", 200, PROTOBUF, body, NOW).rejected == 2


def test_warning_without_rejection() -> None:
    """A message without rejected records is passed on and costs nothing."""
    found = http("traces", 200, JSON, b'{"partialSuccess":{"errorMessage":"use v2"}}', NOW)
    assert (found.action, found.rejected, found.problem, found.say) == (Action.DELIVERED, 0, "warns: use v2", True)


def test_text_of_the_problem() -> None:
    """What a collector says in plain text is part of the problem, in one line; a web page is not."""
    found = http("traces", 400, {"content-type": "text/plain"}, b"bad\nspan", NOW)
    assert found.problem == "answered 400: bad span"
    assert http("traces", 500, {"content-type": "text/html"}, b"<html>", NOW).problem == "answered 500"


def http_date(seconds: float) -> str:
    from datetime import datetime

    return format_datetime(datetime.fromtimestamp(NOW + seconds, timezone.utc), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1.0),
        ("0", 0.0),
        (" 3600 ", 3600.0),
        ("1000000000", 3600.0),
        (http_date(90), 90.0),
        (http_date(9999), 3600.0),
        (http_date(-5), None),
        ("-5", None),
        ("1e9", None),
        ("soon", None),
        ("", None),
        ("Fri, 99 Foo 2023", None),
        ("٣", None),
    ],
)
@pytest.mark.fault("F53")
def test_retry_after(value: str, seconds: float | None) -> None:
    """Retry-After is seconds or a date, at most an hour; past, malformed and negative ones say nothing."""
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(("status", "wait"), [(429, 7.0), (503, 7.0), (502, None), (504, None)])
def test_retry_after_counts(status: int, wait: float | None) -> None:
    """Retry-After counts on 429 and 503."""
    assert http("traces", status, {"retry-after": "7"}, b"", NOW).wait == wait


def retry_info(seconds: int) -> bytes:
    packed = AnyMessage()
    packed.Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    return bytes(Status(code=8, details=[packed]).SerializeToString())


@pytest.mark.parametrize(
    ("code", "action", "reason"),
    [
        ("CANCELLED", Action.RETRY, ""),
        ("DEADLINE_EXCEEDED", Action.RETRY, ""),
        ("ABORTED", Action.RETRY, ""),
        ("OUT_OF_RANGE", Action.RETRY, ""),
        ("UNAVAILABLE", Action.RETRY, ""),
        ("DATA_LOSS", Action.RETRY, ""),
        ("RESOURCE_EXHAUSTED", Action.DROP, "grpc_resource_exhausted"),
        ("UNAUTHENTICATED", Action.REFUSED, "grpc_unauthenticated"),
        ("PERMISSION_DENIED", Action.REFUSED, "grpc_permission_denied"),
        ("INVALID_ARGUMENT", Action.DROP, "grpc_invalid_argument"),
        ("UNIMPLEMENTED", Action.DROP, "grpc_unimplemented"),
        ("INTERNAL", Action.DROP, "grpc_internal"),
        ("UNKNOWN", Action.DROP, "grpc_unknown"),
    ],
)
def test_grpc_code(code: str, action: Action, reason: str) -> None:
    """Each gRPC code has the action of its row."""
    found = grpc("traces", code, "", b"")
    assert (found.action, found.reason) == (action, reason)


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_grpc_retry_info(code: str) -> None:
    """RetryInfo makes RESOURCE_EXHAUSTED retryable and says when, at most in an hour."""
    assert grpc("traces", code, "", retry_info(7)).action is Action.RETRY
    assert grpc("traces", code, "", retry_info(7)).wait == 7.0
    assert grpc("traces", code, "", retry_info(10**6)).wait == 3600.0


def test_grpc_too_large() -> None:
    """A message over the server's limit is split like HTTP's 413; malformed details are no details."""
    text = "grpc: received message larger than max (5000000 vs. 4194304)"
    assert grpc("traces", "RESOURCE_EXHAUSTED", text, b"\xff").action is Action.SPLIT
