"""The answer table end to end: a sender against a real receiver, stepped by hand on a clock of our own."""

from collections.abc import Iterator
from typing import Any

import pytest

from otel_agent import wire
from otel_agent.hub.export import body, encode
from otel_agent.hub.export.answer import Answer
from otel_agent.hub.export.destination import destinations
from otel_agent.hub.export.http import Http
from otel_agent.hub.export.outbox import Outbox
from otel_agent.hub.export.pacing import Pacing
from otel_agent.hub.export.queue import Queue
from otel_agent.hub.export.sender import Sender
from otel_agent.hub.export.tally import Tally
from support.otlp_receiver import OtlpReceiver

KEY = ("otlp", "traces")


class Bench:
    """A receiver, and a sender to it with queue, counts, clock and the lines it said."""

    def __init__(self, receiver: OtlpReceiver, environ: dict[str, str]) -> None:
        self.receiver = receiver
        self.now = 1_000.0
        self.lines: list[str] = []
        self.tally = Tally({"span": ["otlp"]})
        self.queue = Queue(lambda row, reason: self.tally.drop("span", reason, row.records, "otlp"))
        destination = destinations({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **environ})[0]
        pacing = Pacing(lambda: self.now, lambda low, high: (low + high) / 2)
        self.outbox = Outbox("traces", [destination], self.queue)
        self.transport = Http(destination, wall=lambda: 1_700_000_000.0)
        self.sender = Sender(destination, self.transport, self.queue, self.tally, self.lines.append, pacing)

    def put(self, *names: str) -> None:
        """Queue one request with spans of these names."""
        self.tally.accept("span", len(names))
        scope: tuple[str, str, str, dict[str, Any]] = ("", "", "", {})
        records: list[tuple[dict[str, Any], wire.Span]] = [
            ({}, wire.Span(b"t" * 16, b"s" * 8, b"", False, "", 1, name, 1, 1, 2, {}, [], [], 0, "", scope))
            for name in names
        ]
        self.outbox.put(encode.spans(records)[0])

    def answer(self, status: int, headers: dict[str, str] | None = None, content: bytes = b"") -> None:
        self.receiver.answers.append((status, headers or {}, content))

    def run(self) -> float | None:
        """Step until there is a reason to wait; that wait."""
        while True:
            pause = self.sender.step()
            if pause is None or pause > 0:
                return pause

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.receiver.spans]

    @property
    def counts(self) -> dict[str, Any]:
        counts = self.tally.snapshot()["span"]["otlp"]
        assert counts["queued"] == self.queue.size(KEY)[1], "I4: the counted queue is the real one"
        return counts


@pytest.fixture(params=[{}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with OtlpReceiver() as receiver:
        bench = Bench(receiver, request.param)
        yield bench
        bench.transport.close()


def counted(exported: int = 0, queued: int = 0, **dropped: int) -> dict[str, Any]:
    total = exported + queued + sum(dropped.values())
    return {"accepted": total, "exported": exported, "queued": queued, "dropped": dropped}


def test_delivered(bench: Bench) -> None:
    """2xx: delivered, in order, counted; then there is nothing to wait for."""
    bench.put("a", "b")
    bench.put("c")
    assert bench.run() is None
    assert bench.names == ["a", "b", "c"]
    assert bench.counts == counted(exported=3)
    assert bench.sender.problem == ""


@pytest.mark.fault("F56")
def test_partial_success(bench: Bench) -> None:
    """Partial success: the rejected are counted and not sent again; the message is said once."""
    content = b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}'
    for _ in range(2):
        bench.put("a", "b")
        bench.answer(200, {"Content-Type": "application/json"}, content)
    assert bench.run() is None
    assert bench.counts == counted(exported=2, collector_rejected=2)
    assert len(bench.receiver.requests) == 2
    assert bench.lines == [f"traces: {bench.receiver.endpoint}/v1/traces rejected 1 records: too old."]


@pytest.mark.fault("F55")
@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [
        (200, {"Content-Type": "text/html"}, b""),
        (200, {}, b"<html>login</html>"),
        (301, {"Location": "http://127.0.0.1:1/"}, b""),
        (302, {}, b""),
        (307, {"Location": "http://127.0.0.1:1/"}, b""),
    ],
)
def test_not_a_collector(bench: Bench, status: int, headers: dict[str, str], content: bytes) -> None:
    """A web page or a redirect: not delivered, back-off, one line, sent again later."""
    bench.put("a")
    bench.answer(status, headers, content)
    bench.answer(status, headers, content)
    assert bench.run() == 1.0
    bench.now += 1
    assert bench.run() == 1.5
    assert bench.counts == counted(queued=1)
    assert len(bench.lines) == 1
    bench.now += 1.5
    bench.run()
    assert bench.counts == counted(exported=1)


@pytest.mark.fault("F54")
@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retryable(bench: Bench, status: int) -> None:
    """429, 502, 503, 504: kept and sent again, the same bytes, with nothing said."""
    bench.put("a")
    bench.answer(status)
    assert bench.run() == 1.0
    assert bench.counts == counted(queued=1)
    assert bench.sender.pacing.failing
    bench.now += 1
    assert bench.run() is None
    assert bench.counts == counted(exported=1)
    first, second = bench.receiver.requests
    assert first.body == second.body
    assert bench.lines == []
    assert not bench.sender.pacing.failing


@pytest.mark.fault("F53")
@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("7", 7.0),
        ("3600", 3600.0),
        ("1000000000", 3600.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 1.0),
        ("-5", 1.0),
        ("later", 1.0),
    ],
)
def test_retry_after(bench: Bench, value: str, wait: float) -> None:
    """Retry-After is waited for as told; past, negative and malformed ones mean back-off. Nothing is dropped."""
    bench.put("a")
    bench.answer(503, {"Retry-After": value})
    assert bench.run() == pytest.approx(wait)
    assert bench.counts == counted(queued=1)


def test_too_large(bench: Bench) -> None:
    """413: split once in two halves, in order; a half that is refused again is dropped as too large."""
    bench.put("a", "b", "c", "d", "e")
    bench.put("f")
    bench.answer(413)
    bench.answer(200)
    bench.answer(413)
    assert bench.run() is None
    assert bench.names == ["a", "b", "f"]
    assert bench.counts == counted(exported=3, too_large=3)


def test_too_large_alone(bench: Bench) -> None:
    """413 for a single record: dropped as too large."""
    bench.put("a")
    bench.answer(413)
    assert bench.run() is None
    assert bench.counts == counted(too_large=1)


@pytest.mark.fault("F54")
@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials(bench: Bench, status: int) -> None:
    """401, 403: this batch is dropped, the next one is the probe after 60 s, then 5 min; one line."""
    for name in "abc":
        bench.put(name)
    bench.answer(status)
    bench.answer(status)
    assert bench.run() == 60.0
    assert bench.sender.pacing.breaker_open
    bench.now += 60
    assert bench.run() == 300.0
    assert len(bench.receiver.requests) == 2
    bench.now += 300
    bench.run()
    assert bench.counts == counted(exported=1, **{f"http_{status}": 2})
    assert len(bench.lines) == 1
    assert not bench.sender.pacing.breaker_open


@pytest.mark.fault("F54")
@pytest.mark.parametrize("status", [400, 404, 408, 500, 501])
def test_other_errors(bench: Bench, status: int) -> None:
    """Other 4xx and 5xx: dropped with the status as reason; the next batch goes at once."""
    bench.put("a", "b")
    bench.put("c")
    bench.answer(status)
    assert bench.run() is None
    assert bench.names == ["c"]
    assert bench.counts == counted(exported=1, **{f"http_{status}": 2})


def test_ten_errors(bench: Bench) -> None:
    """Ten drops in a row open the breaker."""
    for number in range(11):
        bench.put(str(number))
        bench.answer(400)
    assert bench.run() == 60.0
    assert bench.counts == counted(queued=1, http_400=10)


@pytest.mark.fault("F50")
def test_refused_connection(bench: Bench) -> None:
    """A collector that is away: everything waits in order, and goes on a ramp when it is back."""
    bench.receiver.stop()
    for name in "abcd":
        bench.put(name)
    waits = []
    for _ in range(4):
        waits.append(bench.run())
        bench.now += waits[-1] or 0
    assert waits == [1.0, 1.5, 2.25, 3.375]
    assert bench.counts == counted(queued=4)
    assert bench.sender.problem.endswith("Connection refused")
    bench.receiver.start()
    ramp = []
    while (pause := bench.run()) is not None:
        ramp.append(round(pause, 3))
        bench.now += pause
    assert bench.names == ["a", "b", "c", "d"]
    assert ramp == [1.0, 0.5, 0.25]
    assert bench.sender.problem == ""


@pytest.mark.fault("F57")
def test_reset_after_the_request(bench: Bench) -> None:
    """A connection lost after the request was read: the same bytes again, at most one batch twice."""
    bench.put("a")
    bench.receiver.answers.append(lambda request: None)
    assert bench.run() == 1.0
    bench.now += 1
    assert bench.run() is None
    first, second = bench.receiver.requests
    assert first.body == second.body
    assert bench.counts == counted(exported=1)


def test_poison() -> None:
    """A request that makes us fault again and again goes; those behind it are sent."""

    class Faulty:
        def send(self, data: bytes, timeout: float) -> Answer:
            if data == b"poison":
                raise RuntimeError("ours")
            sent.append(data)
            return Answer(encode_action)

        def close(self) -> None:
            pass

    from otel_agent.hub.export.answer import Action

    encode_action = Action.DELIVERED
    sent: list[bytes] = []
    tally = Tally({"span": ["otlp"]})
    tally.accept("span", 3)
    queue = Queue(lambda row, reason: None)
    destination = destinations({"OTEL_TRACES_EXPORTER": "otlp"})[0]
    pacing = Pacing(uniform=lambda low, high: 0.0)
    sender = Sender(destination, Faulty(), queue, tally, print, pacing)
    queue.put(KEY, b"poison", 2)
    queue.put(KEY, b"good", 1)
    sender.start()
    while queue.size(KEY)[0]:
        queue.wait(queue.version, 1)
    sender.close()
    assert sent == [b"good"]
    assert tally.snapshot()["span"]["otlp"] == counted(exported=1, encode_error=2)


def test_forms() -> None:
    """gRPC bodies are not compressed by us, HTTP's are as configured."""
    environ = {"OTEL_TRACES_EXPORTER": "otlp"}
    assert body.form(destinations(environ)[0]) == ("http/protobuf", "gzip")
    environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "grpc"
    assert body.form(destinations(environ)[0]) == ("grpc", "none")
