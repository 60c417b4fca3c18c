"""The way of one request: FastAPI, a query, Gemini, HTTP; one trace, at a receiver and through the real collector."""

import http.client
import sys
from collections.abc import Iterator

import pytest

from otel_agent.demo.gemini_server import GeminiServer
from support.agent import APPS, free_port, get, running, total, wait_for_port
from support.collector import ComponentAbsent, running_collector, skip_absent
from support.otlp_receiver import OtlpReceiver, ReceivedSpan

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def gemini() -> Iterator[GeminiServer]:
    """The fake Gemini server."""
    with GeminiServer() as server:
        yield server


def ask(port: int) -> int:
    """One request with a traceparent; its status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/api/ask", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def check_tree(spans: list[ReceivedSpan]) -> None:
    """SERVER, below it the query and the model call, below that the HTTP request."""
    assert {span.trace_id for span in spans} == {TRACE}
    (server,) = [span for span in spans if span.kind == "SERVER"]
    (query,) = [span for span in spans if "db.system.name" in span.attributes]
    (model,) = [span for span in spans if "gen_ai.operation.name" in span.attributes]
    (request,) = [span for span in spans if "url.full" in span.attributes]
    assert len(spans) == 4
    assert server.parent_span_id == CALLER
    assert (query.parent_span_id, model.parent_span_id) == (server.span_id, server.span_id)
    assert request.parent_span_id == model.span_id
    assert {span.kind for span in (query, model, request)} == {"CLIENT"}
    assert (server.name, query.name, request.name) == ("GET /api/ask", "SELECT", "POST")
    assert model.name == "generate_content gemini-2.5-flash"
    assert server.attributes["http.route"] == "/api/ask"
    assert server.attributes["http.response.status_code"] == 200
    assert int(model.attributes["gen_ai.usage.input_tokens"]) > 0
    assert server.resource["service.name"] == "shop"


def run_one_request(endpoint: str, gemini: GeminiServer, **environ: str) -> str:
    """Run the FastAPI app under the agent, send one request; /metrics after it."""
    port = free_port()
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "GEMINI_BASE_URL": gemini.base_url,
        "OTEL_SERVICE_NAME": "shop",
        **environ,
    }
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "fastapi_app:app"]
    with running(*command, environ=settings, cwd=APPS) as run:
        wait_for_port(port)
        assert ask(port) == 200
        text = run.metrics()
        assert get(f"{run.url}/health")[0] == 200
        run.stop()
    return text


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_one_request_is_one_trace(receiver: OtlpReceiver, gemini: GeminiServer, protocol: str) -> None:
    """The caller's trace goes on through the server span, its two clients and the HTTP call of one of them."""
    text = run_one_request(receiver.endpoint, gemini, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    check_tree(receiver.wait_for(lambda got: got.spans if len(got.spans) >= 4 else []))
    assert total(text, "gen_ai_client_token_usage_count") == 2
    assert {metric.name for metric in receiver.metrics} >= {
        "http.server.request.duration",
        "http.client.request.duration",
        "db.client.operation.duration",
        "gen_ai.client.inference.duration",
    }


@pytest.mark.component("collector")
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_same_through_the_real_collector(receiver: OtlpReceiver, gemini: GeminiServer, protocol: str) -> None:
    """The collector of collector-config takes what we send, and the same trace comes out behind it."""
    try:
        with running_collector(receiver.endpoint) as collector:
            endpoint = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
            run_one_request(endpoint, gemini, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
            check_tree(receiver.wait_for(lambda got: got.spans if len(got.spans) >= 4 else []))
            receiver.wait_for(lambda got: any(one.name == "http.server.request.duration" for one in got.metrics))
    except ComponentAbsent as absent:
        skip_absent(absent)
