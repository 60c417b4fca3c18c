"""The OTEL_EXPORTER_OTLP_* variables, read."""

import base64
from typing import Any

import pytest

from otel_agent.hub.export.destination import Destination, destinations

OTLP = "OTEL_EXPORTER_OTLP_"


def only(**environ: str) -> Destination:
    """The traces destination of an environment; names without their common prefix."""
    full = {name if name.startswith("OTEL_") else OTLP + name: value for name, value in environ.items()}
    return next(found for found in destinations(full) if found.signal == "traces")


def test_nothing_set() -> None:
    """Without endpoint and exporter nothing is exported; an empty variable is an unset one."""
    assert destinations({}) == []
    assert destinations({OTLP + "ENDPOINT": " ", "OTEL_TRACES_EXPORTER": ""}) == []


def test_endpoint_for_all() -> None:
    """The endpoint for all signals turns all three on; each adds its path to the endpoint's own."""
    found = destinations({OTLP + "ENDPOINT": "https://collector:4318/base/"})
    assert [(d.signal, d.endpoint, d.tls) for d in found] == [
        ("traces", "https://collector:4318/base/v1/traces", True),
        ("metrics", "https://collector:4318/base/v1/metrics", True),
        ("logs", "https://collector:4318/base/v1/logs", True),
    ]
    assert (found[0].protocol, found[0].compression, found[0].timeout) == ("http/protobuf", "gzip", 10.0)


def test_endpoint_of_one_signal() -> None:
    """A signal's own endpoint is used as it is and turns only this signal on."""
    found = destinations({OTLP + "TRACES_ENDPOINT": "http://127.0.0.1:9/in?x=1"})
    assert [(d.signal, d.endpoint) for d in found] == [("traces", "http://127.0.0.1:9/in?x=1")]
    assert only(TRACES_ENDPOINT="http://127.0.0.1:9").endpoint == "http://127.0.0.1:9/"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp"}, [("otlp", "traces")]),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, [("otlp", "traces"), ("console", "traces")]),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, []),
        ({"OTEL_METRICS_EXPORTER": "prometheus,otlp"}, [("otlp", "metrics")]),
        ({OTLP + "ENDPOINT": "http://[::1]:4318", "OTEL_LOGS_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
         [("otlp", "traces")]),
    ],
)  # fmt: skip
def test_exporters(environ: dict[str, str], expected: list[tuple[str, str]]) -> None:
    """OTEL_<signal>_EXPORTER says which destinations a signal has."""
    assert [(found.name, found.signal) for found in destinations(environ)] == expected


def test_default_endpoint() -> None:
    """An exporter without an endpoint sends to the specification's local one."""
    assert only(OTEL_TRACES_EXPORTER="otlp").endpoint == "http://localhost:4318/v1/traces"
    assert only(OTEL_TRACES_EXPORTER="otlp", PROTOCOL="grpc").endpoint == "localhost:4317"


def test_signal_wins() -> None:
    """Each variable of a signal wins over the one for all."""
    found = only(
        ENDPOINT="http://127.0.0.1:1",
        TRACES_ENDPOINT="https://127.0.0.1:2/t",
        PROTOCOL="grpc",
        TRACES_PROTOCOL="http/json",
        HEADERS="a=1",
        TRACES_HEADERS="B=2%2C3,c=x%20y=z",
        TIMEOUT="5000",
        TRACES_TIMEOUT="250",
        COMPRESSION="gzip",
        TRACES_COMPRESSION="none",
        CERTIFICATE="/ca",
        TRACES_CERTIFICATE="/own-ca",
        CLIENT_KEY="/key",
        TRACES_CLIENT_CERTIFICATE="/cert",
    )
    assert found == Destination(
        "otlp", "traces", "http/json", "https://127.0.0.1:2/t", {"b": "2,3", "c": "x y=z"}, 0.25, "none", True,
        "/own-ca", "/cert", "/key",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("endpoint", "insecure", "expected"),
    [
        ("http://127.0.0.1:4317", "", ("127.0.0.1:4317", False)),
        ("https://127.0.0.1", "true", ("127.0.0.1:443", True)),
        ("localhost:4317", "", ("localhost:4317", True)),
        ("localhost:4317", "true", ("localhost:4317", False)),
        ("http://[::1]:4317", "", ("[::1]:4317", False)),
    ],
)
def test_grpc_endpoint(endpoint: str, insecure: str, expected: tuple[str, bool]) -> None:
    """The scheme of a gRPC endpoint decides about TLS; without one INSECURE does, and TLS is the default."""
    found = only(ENDPOINT=endpoint, INSECURE=insecure, PROTOCOL="grpc")
    assert (found.endpoint, found.tls) == expected


def test_credentials_in_url() -> None:
    """Credentials in the endpoint become a header and are shown nowhere; nor are headers and the query."""
    found = only(TRACES_ENDPOINT="http://user:p%40ss@127.0.0.1:1/x?key=secret", HEADERS="x-key=secret")
    assert found.headers["authorization"] == "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert found.shown == "http://127.0.0.1:1/x"
    assert "p@ss" not in repr(found)
    assert "x-key" not in repr(found)


def test_small_timeout() -> None:
    """A timeout below 100 is read as seconds, which is said."""
    found = only(ENDPOINT="http://127.0.0.1:1", TIMEOUT="10")
    assert found.timeout == 10.0
    assert found.warnings == ("OTEL_EXPORTER_OTLP_TIMEOUT is 10, read as seconds; OpenTelemetry means milliseconds.",)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", 0), ("localhost", 0), ("[::1]", 0), ("collector", 1)])
def test_plain_text_warning(host: str, warned: int) -> None:
    """Telemetry that leaves the machine without TLS is worth a warning."""
    assert len(only(ENDPOINT=f"http://{host}:4318").warnings) == warned


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        (OTLP + "ENDPOINT", "collector:4318"),
        (OTLP + "ENDPOINT", "ftp://collector"),
        (OTLP + "ENDPOINT", "http://"),
        (OTLP + "ENDPOINT", "http://collector:99999"),
        (OTLP + "ENDPOINT", "http://coll ector"),
        (OTLP + "TRACES_ENDPOINT", "http://[::1"),
        (OTLP + "TRACES_PROTOCOL", "thrift"),
        (OTLP + "COMPRESSION", "brotli"),
        (OTLP + "TIMEOUT", "soon"),
        (OTLP + "TIMEOUT", "0"),
        (OTLP + "TIMEOUT", "-5"),
        (OTLP + "HEADERS", "token"),
        (OTLP + "HEADERS", "a b=1"),
        (OTLP + "HEADERS", "a=1%0D%0Ab: 2"),
    ],
)
def test_bad_value(name: str, value: str) -> None:
    """A bad value raises ValueError with one sentence that names the variable."""
    environ = {OTLP + "ENDPOINT": "http://127.0.0.1:1", name: value}
    with pytest.raises(ValueError, match=name) as caught:
        destinations(environ)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_bad_header_is_not_shown() -> None:
    """The sentence about bad headers does not show them."""
    with pytest.raises(ValueError) as caught:
        only(ENDPOINT="http://127.0.0.1:1", HEADERS="authorization=x,s3cret")
    assert "s3cret" not in str(caught.value)


def test_grpc_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC without the extra is a sentence that says what to install."""

    def no_spec(name: str) -> Any:
        return None

    monkeypatch.setattr("importlib.util.find_spec", no_spec)
    with pytest.raises(ValueError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL .*otel-agent\[grpc\]"):
        only(ENDPOINT="http://127.0.0.1:1", PROTOCOL="grpc")
