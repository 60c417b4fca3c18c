"""The export as the hub uses it, threads and all."""

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from otel_agent import wire
from otel_agent.hub.export.exports import Exports
from otel_agent.hub.export.pacing import Pacing
from support.otlp_decode import decode
from support.otlp_receiver import OtlpReceiver

RESOURCE = {"service.name": "shop"}
SCOPE: tuple[str, str, str, dict[str, Any]] = ("my.scope", "", "", {})


def span(name: str = "GET", **attributes: Any) -> wire.Span:
    return wire.Span(b"t" * 16, b"s" * 8, b"", False, "", 1, name, 1, 1, 2, attributes, [], [], 0, "", SCOPE)


def log(body: Any) -> wire.Log:
    return wire.Log(1, 1, 9, "INFO", body, {}, b"", b"", 0, "", SCOPE)


class Made:
    """Exports that are closed after the test, with the lines they said and their console."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.console = io.StringIO()
        self._made: list[Exports] = []

    def __call__(self, **environ: str) -> Exports:
        exports = Exports(environ, console=self.console, say=self.said.append)
        self._made.append(exports)
        return exports

    def close(self) -> None:
        for exports in self._made:
            exports.close()
        for thread in threading.enumerate():
            if thread.name.startswith(("otlp-", "console-")):
                thread.join(15)


@pytest.fixture
def make() -> Iterator[Made]:
    made = Made()
    yield made
    made.close()


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def test_spans_and_logs(make: Made, receiver: OtlpReceiver) -> None:
    """Everything that was added arrives once, in order, and drain leaves nothing."""
    exports = make(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    for number in range(1300):
        exports.add_span(RESOURCE, span(str(number)))
    exports.add_log(RESOURCE, log("hello"))
    assert exports.drain(10) == 0
    assert [one.name for one in receiver.spans] == [str(number) for number in range(1300)]
    assert [one.body for one in receiver.logs] == ["hello"]
    assert receiver.spans[0].resource == RESOURCE
    done = {"accepted": 1300, "exported": 1300, "queued": 0, "dropped": {}}
    assert exports.counts()["span"] == {"otlp": done}
    assert make.said == []


def test_from_many_threads(make: Made, receiver: OtlpReceiver) -> None:
    """Records may be added by any thread; none is lost and none doubled."""
    exports = make(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)

    def add(start: int) -> None:
        for number in range(start, start + 500):
            exports.add_span(RESOURCE, span(str(number)))

    threads = [threading.Thread(target=add, args=(n * 500,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exports.drain(10) == 0
    assert sorted(int(one.name) for one in receiver.spans) == list(range(2000))


def test_batch_size(make: Made, receiver: OtlpReceiver) -> None:
    """A full batch goes without waiting for the delay, and holds the configured number of records."""
    exports = make(
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
        OTEL_BSP_SCHEDULE_DELAY="3600000",
    )
    for _ in range(25):
        exports.add_span(RESOURCE, span())
    receiver.wait_for(lambda got: len(got.spans) == 20)
    assert [len(decode(request.path, request.payload, is_json=False) or ()) for request in receiver.requests] == [
        10,
        10,
    ]
    assert exports.drain(10) == 0
    assert len(receiver.spans) == 25


def test_batch_delay(make: Made, receiver: OtlpReceiver) -> None:
    """A batch that does not fill goes after the delay."""
    exports = make(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_BLRP_SCHEDULE_DELAY="10")
    exports.add_log(RESOURCE, log("a"))
    receiver.wait_for(lambda got: got.logs)


def test_batch_bytes(make: Made, receiver: OtlpReceiver) -> None:
    """Large records make a batch full before its count does."""
    exports = make(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_BSP_SCHEDULE_DELAY="3600000")
    for _ in range(50):
        exports.add_span(RESOURCE, span(text="x" * 50_000))
    receiver.wait_for(lambda got: got.spans)
    assert all(len(request.payload) <= 2 << 20 for request in receiver.requests)


def test_without_destination(make: Made) -> None:
    """Without a destination there is no thread, and everything may still be called."""
    exports = make()
    exports.add_span(RESOURCE, span())
    exports.add_log(RESOURCE, log("x"))
    assert not exports.active
    assert exports.metric_readers() == []
    assert exports.drain(0) == 0
    assert (exports.counts(), exports.health()) == ({}, [])


def test_two_destinations(make: Made, receiver: OtlpReceiver) -> None:
    """`otlp,console` sends to both; each has its own counts."""
    exports = make(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_TRACES_EXPORTER="otlp,console")
    exports.add_span(RESOURCE, span("both"))
    assert exports.drain(10) == 0
    assert [one.name for one in receiver.spans] == ["both"]
    assert json.loads(make.console.getvalue())["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] == "both"
    done = {"accepted": 1, "exported": 1, "queued": 0, "dropped": {}}
    assert exports.counts()["span"] == {"otlp": done, "console": done}


def test_unencodable(make: Made, receiver: OtlpReceiver) -> None:
    """A record without valid ids is counted as encode_error, the others arrive."""
    exports = make(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    bad = span("bad")
    bad.trace_id = b""
    exports.add_span(RESOURCE, bad)
    exports.add_span(RESOURCE, span("good"))
    assert exports.drain(10) == 0
    counts = {"accepted": 2, "exported": 1, "queued": 0, "dropped": {"encode_error": 1}}
    assert exports.counts()["span"]["otlp"] == counts


@pytest.mark.fault("F50")
def test_drain_with_a_dead_collector(make: Made) -> None:
    """A collector that refuses is not waited for at the end; what is left is counted and nothing is said."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    exports = make(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
    exports.add_span(RESOURCE, span())
    started = time.monotonic()
    assert exports.drain(30) == 1
    assert time.monotonic() - started < 15  # that is: not until the deadline
    health = exports.health()[0]
    assert (health["failing"], health["queue"]["records"]) == (True, 1)
    assert health["problem"].endswith("Connection refused")
    assert make.said == []


@pytest.mark.fault("F51")
def test_drain_with_a_hanging_collector(make: Made, receiver: OtlpReceiver) -> None:
    """A collector that hangs holds the end up to the deadline, not to its own timeout."""
    receiver.answers.append(receiver.hang)
    exports = make(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="20000")
    exports.add_span(RESOURCE, span())
    started = time.monotonic()
    assert exports.drain(0.3) == 1
    assert time.monotonic() - started < 10  # a promise in seconds, with slack for a busy machine


def test_one_signal_down(make: Made, receiver: OtlpReceiver) -> None:
    """A signal whose endpoint is down does not hold up the others."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    exports = make(
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"http://127.0.0.1:{port}/v1/logs",
    )
    exports.add_log(RESOURCE, log("stuck"))
    exports.add_span(RESOURCE, span("through"))
    assert exports.drain(10) == 1
    assert [one.name for one in receiver.spans] == ["through"]


def test_collector_comes_back(make: Made, receiver: OtlpReceiver) -> None:
    """What was queued while the collector was away arrives when it is back."""
    receiver.stop()
    made = Exports(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "1"},
        console=make.console,
        pacing=lambda: Pacing(uniform=lambda low, high: 0.05),
    )
    try:
        made.add_span(RESOURCE, span("early"))
        while not made.health()[0]["failing"]:
            time.sleep(0.005)
        receiver.start()
        receiver.wait_for(lambda got: got.spans)
        assert made.drain(5) == 0
        assert made.health()[0]["resends"] >= 1
    finally:
        made.close()


def test_full_queue(receiver: OtlpReceiver) -> None:
    """A queue over its bytes drops the oldest requests, which are counted; the identity holds."""
    receiver.stop()
    exports = Exports(
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": receiver.endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"},
        console=io.StringIO(),
        queue_bytes=20_000,
    )
    try:
        for _ in range(10):
            exports.add_span(RESOURCE, span(text="x" * 5_000))
            exports.flush()
        exports.drain(1)
        counts = exports.counts()["span"]["otlp"]
        assert counts["dropped"]["queue_full"] >= 6
        assert counts["queued"] == exports.health()[0]["queue"]["records"] <= 4
    finally:
        exports.close()
        receiver.start()


def test_warnings(make: Made) -> None:
    """Warnings about the configuration are said at start, each once."""
    make(OTEL_TRACES_EXPORTER="otlp", OTEL_LOGS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_TIMEOUT="10")
    assert make.said == ["OTEL_EXPORTER_OTLP_TIMEOUT is 10, read as seconds; OpenTelemetry means milliseconds."]


def test_bad_setting(make: Made) -> None:
    """A bad variable raises before anything starts."""
    before = threading.active_count()
    with pytest.raises(ValueError, match="OTEL_BSP_SCHEDULE_DELAY"):
        make(OTEL_TRACES_EXPORTER="otlp", OTEL_BSP_SCHEDULE_DELAY="often")
    assert threading.active_count() == before
