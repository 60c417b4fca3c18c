"""OTLP over gRPC against a real gRPC server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_agent import wire
from otel_agent.hub.export import encode
from otel_agent.hub.export.answer import Action
from otel_agent.hub.export.destination import destinations

grpc = pytest.importorskip("grpc")

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Collector:
    """A gRPC server; `answer` is called with the context and gives the response."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.answer: Any = lambda context: ExportTraceServiceResponse()
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, call: Any) -> Any:
        if call.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._export, ExportTraceServiceRequest.FromString, ExportTraceServiceResponse.SerializeToString
        )

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        response: ExportTraceServiceResponse = self.answer(context)
        return response


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


def transport(port: int, **variables: str) -> Any:
    from otel_agent.hub.export.grpc import Grpc

    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    environ |= {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    return Grpc(destinations(environ)[0])


def request() -> ExportTraceServiceRequest:
    scope: tuple[str, str, str, dict[str, Any]] = ("", "", "", {})
    span = wire.Span(b"t" * 16, b"s" * 8, b"", False, "", 1, "GET", 1, 1, 2, {}, [], [], 0, "", scope)
    return encode.spans([({"service.name": "x"}, span)])[0]


def test_delivered(collector: Collector) -> None:
    """The request arrives whole, with the configured headers as metadata."""
    client = transport(collector.port, HEADERS="X-Key=1")
    for _ in range(2):
        assert client.send(request().SerializeToString(), 5).action is Action.DELIVERED
    client.close()
    assert collector.requests == [request(), request()]
    assert collector.metadata[0]["x-key"] == "1"
    assert collector.metadata[0]["user-agent"].startswith("otel-agent/")


def test_partial_success(collector: Collector) -> None:
    """Rejected records are read from the response."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 1
    collector.answer = lambda context: response
    client = transport(collector.port)
    assert client.send(request().SerializeToString(), 5).rejected == 1
    client.close()


@pytest.mark.parametrize(
    ("code", "action", "reason"),
    [
        ("UNAVAILABLE", Action.RETRY, ""),
        ("DATA_LOSS", Action.RETRY, ""),
        ("RESOURCE_EXHAUSTED", Action.DROP, "grpc_resource_exhausted"),
        ("UNAUTHENTICATED", Action.REFUSED, "grpc_unauthenticated"),
        ("INVALID_ARGUMENT", Action.DROP, "grpc_invalid_argument"),
    ],
)
def test_status(collector: Collector, code: str, action: Action, reason: str) -> None:
    """A status has the action of its row; the next call works on a new channel."""
    collector.answer = lambda context: context.abort(getattr(grpc.StatusCode, code), "because")
    client = transport(collector.port)
    found = client.send(request().SerializeToString(), 5)
    assert (found.action, found.reason) == (action, reason)
    collector.answer = lambda context: ExportTraceServiceResponse()
    assert client.send(request().SerializeToString(), 5).action is Action.DELIVERED
    client.close()


def test_retry_info(collector: Collector) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo in its details is a retry at the time it asks for."""
    from google.protobuf.any_pb2 import Any as AnyMessage  # type: ignore[import-untyped]
    from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]
    from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

    packed = AnyMessage()
    packed.Pack(RetryInfo(retry_delay=Duration(seconds=7)))
    details = Status(code=8, details=[packed]).SerializeToString()

    def answer(context: Any) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")

    collector.answer = answer
    client = transport(collector.port)
    found = client.send(request().SerializeToString(), 5)
    client.close()
    assert (found.action, found.wait) == (Action.RETRY, 7.0)


def test_deadline(collector: Collector) -> None:
    """A collector that does not answer is a retry at the deadline."""
    import threading

    done = threading.Event()

    def answer(context: Any) -> ExportTraceServiceResponse:
        done.wait(10)
        return ExportTraceServiceResponse()

    collector.answer = answer
    client = transport(collector.port)
    found = client.send(request().SerializeToString(), 0.3)
    done.set()
    client.close()
    assert found.action is Action.RETRY


def test_back_again(collector: Collector) -> None:
    """After a refused connection the next call reaches a collector that is there by then."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = transport(port)
    assert client.send(request().SerializeToString(), 5).action is Action.RETRY
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((collector,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    assert client.send(request().SerializeToString(), 5).action is Action.DELIVERED
    client.close()
    server.stop(None).wait()


def test_missing_certificate() -> None:
    """A certificate file that is missing is a retry with the reason, never plain text."""
    found = transport(1, ENDPOINT="https://127.0.0.1:1", CERTIFICATE="/nowhere/ca.pem").send(b"x", 1)
    assert found.action is Action.RETRY
    assert "/nowhere/ca.pem" in found.problem
