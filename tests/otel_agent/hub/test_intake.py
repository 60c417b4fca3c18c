"""Connections, frames and what the hub makes of broken ones."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from otel_agent import wire
from support.agent import total
from support.hub import Hub, hello, hub, log, span

GARBAGE = {
    "not our magic": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "another version": struct.pack(">4sBxxxIQ", b"OTLA", 99, 0, 0),
    "too long": struct.pack(">4sBxxxIQ", b"OTLA", 1, wire.MAX_PAYLOAD + 1, 0),
    "no MessagePack": struct.pack(">4sBxxxIQ", b"OTLA", 1, 3, 0) + b"\xc1\xc1\xc1",
    "no array": struct.pack(">4sBxxxIQ", b"OTLA", 1, 1, 0) + b"\x01",
    "no hello first": wire.encode_frame(0, [wire.Goodbye()]),
}


def connect(running: Hub) -> socket.socket:
    """A bare connection to the hub's socket."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(running.path)
    made.settimeout(10)
    return made


def test_records_are_counted_by_signal() -> None:
    """Every record of every connection is counted once, in frames of any size."""
    with hub() as running:
        workers = [running.worker() for _ in range(3)]
        for worker in workers:
            counter = worker.instrument("counter", "c")
            worker.send(*(span(number) for number in range(1, 501)))
            worker.send(log(), log("x" * 30000))
            worker.record(counter, 1)
        text = running.wait_for("otel_agent_records_received_total", 1500, signal="span")
        assert total(text, "otel_agent_records_received_total", signal="log") == 6
        assert total(text, "otel_agent_records_received_total", signal="metric") == 3
        assert total(text, "otel_agent_workers_connected") == 3
        for worker in workers:
            worker.close()
        running.wait_for("otel_agent_workers_connected", 0)


def test_a_frame_may_arrive_byte_by_byte() -> None:
    """Where the kernel cuts the stream does not matter."""
    with hub() as running, connect(running) as raw:
        data = wire.encode_frame(0, [hello(b"w" * 16), span()]) + wire.encode_frame(1, [span(2)])
        for byte in data:
            raw.sendall(bytes((byte,)))
        running.wait_for("otel_agent_records_received_total", 2, signal="span")


def test_a_frame_of_the_largest_size_is_taken() -> None:
    """A frame may be as long as the protocol allows, several reads long."""
    with hub() as running:
        worker = running.worker()
        worker.send(*(log("y" * 60000) for _ in range(17)))
        running.wait_for("otel_agent_records_received_total", 17, signal="log")
        worker.close()


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_closes_only_its_own_connection(case: str) -> None:
    """A connection that breaks the protocol is closed and counted; others go on."""
    with hub() as running, connect(running) as bad:
        good = running.worker()
        bad.sendall(GARBAGE[case])
        assert bad.recv(1) == b""
        good.send(span())
        text = running.wait_for("otel_agent_records_received_total", 1, signal="span")
        assert total(text, "otel_agent_frames_rejected_total", reason="frame_invalid") == 1
        good.close()


def test_unknown_records_are_skipped_and_counted() -> None:
    """A record of a later version costs itself, not its frame."""
    with hub() as running:
        worker = running.worker()
        payload = wire.encoder.encode(["x", [99, "new"], span(), [5, "no span"]])
        worker.socket.sendall(wire.HEADER.pack(wire.MAGIC, wire.VERSION, len(payload), 7) + payload)
        text = running.wait_for("otel_agent_records_received_total", 1, signal="span")
        assert total(text, "otel_agent_frames_rejected_total", reason="record_invalid") == 3
        worker.close()


def test_a_frame_cut_by_death_is_counted() -> None:
    """The half frame of a killed worker is a torn frame, and what came before it counts."""
    with hub() as running:
        with connect(running) as raw:
            raw.sendall(wire.encode_frame(0, [hello(b"w" * 16), span()]) + wire.encode_frame(1, [span()])[:-3])
        text = running.wait_for("otel_agent_frames_rejected_total", 1, reason="torn_frame")
        assert total(text, "otel_agent_records_received_total", signal="span") == 1


def test_workers_say_what_they_dropped() -> None:
    """Totals of a process are counted once, however often and on however many connections it repeats them."""
    with hub() as running:
        for produced in (5, 7):
            worker = running.worker(b"same worker id!!")
            worker.send(wire.Counters({"span": produced}, {"span:ring_full": produced - 4}))
            worker.send(wire.Counters({"span": produced}, {"span:ring_full": produced - 4}))
            worker.close()
        text = running.wait_for("otel_agent_records_produced_total", 7, signal="span")
        assert total(text, "otel_agent_records_dropped_total", stage="worker", reason="ring_full") == 3


def test_a_worker_may_tell_the_user_something() -> None:
    """A diagnostic goes to the supervisor to be printed."""
    with hub() as running:
        worker = running.worker()
        worker.send(wire.Diagnostic("flask is older than tested"))
        while not running.said:
            running.hear()
        assert running.said == ["flask is older than tested"]
        worker.close()


def test_what_was_sent_before_the_hub_started_is_read() -> None:
    """Bytes that a worker wrote and died on wait in the kernel for the first accept."""
    running = Hub({}, start=False)
    worker = running.worker()
    worker.send(span())
    worker.close()
    time.sleep(0.05)
    running.start()
    try:
        running.wait_for("otel_agent_records_received_total", 1, signal="span")
    finally:
        running.kill()
