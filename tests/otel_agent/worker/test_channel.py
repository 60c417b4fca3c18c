"""The channel: nothing that ended is lost with its process, and nothing blocks the app."""

import signal

import pytest

from otel_agent import wire
from support.agent import run_worker
from support.recording_hub import RecordingHub

SPANS = """
import os, signal, sys
from opentelemetry import trace
tracer = trace.get_tracer("t")
def spans(count, name="s"):
    for number in range(count):
        tracer.start_span(f"{name}{number}").end()
"""


@pytest.mark.fault("F8")
@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.abort()", -signal.SIGABRT),
        ("os.execv('/bin/sh', ['sh', '-c', 'exit 4'])", 4),
        ("raise SystemExit(5)", 5),
    ],
)
def test_ended_spans_survive_every_end(hub: RecordingHub, ending: str, status: int) -> None:
    """100 of 100 ended spans arrive however the process ends, and the exit status is its own."""
    result = run_worker(hub.path, "-c", f"{SPANS}\nspans(100)\n{ending}")
    assert result.returncode == status
    hub.wait_for(lambda hub: len(hub.of(wire.Span)) == 100)


@pytest.mark.fault("F1")
def test_children_of_an_open_span_survive_too(hub: RecordingHub) -> None:
    """A span that ended 20 ms before a SIGKILL arrives although its parent never ended."""
    code = """
import time
with tracer.start_as_current_span("open"):
    spans(10, "child")
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run_worker(hub.path, "-c", SPANS + code).returncode == -signal.SIGKILL
    hub.wait_for(lambda hub: len(hub.of(wire.Span)) == 10)


def test_children_ride_on_their_root(hub: RecordingHub) -> None:
    """Spans of one local root travel in order and arrive with it, without waiting for the tail."""
    code = """
with tracer.start_as_current_span("root"):
    spans(3, "child")
os._exit(0)
"""
    run_worker(hub.path, "-c", SPANS + code)
    hub.wait_for(lambda hub: len(hub.of(wire.Span)) == 4)
    assert [span.name for span in hub.of(wire.Span)] == ["child0", "child1", "child2", "root"]


@pytest.mark.fault("F10")
def test_forked_children(hub: RecordingHub) -> None:
    """Children that leave by os._exit lose nothing, repeat nothing, and those that record nothing never connect."""
    code = """
spans(1, "parent")
for child in range(50):
    if os.fork() == 0:
        if child % 2: spans(1, f"child{child}-")
        os._exit(0)
for _ in range(50): os.wait()
"""
    result = run_worker(hub.path, "-W", "error", "-c", SPANS + code)
    assert (result.returncode, result.stderr) == (0, "")
    hub.wait_for(lambda hub: len(hub.of(wire.Span)) == 26)
    assert len({span.name for span in hub.of(wire.Span)}) == 26
    assert hub.connections == 26
    assert len({hello.worker_id for hello in hub.of(wire.Hello)}) == 26


def test_ids_differ_after_a_fork(hub: RecordingHub) -> None:
    """Parent and children draw different ids."""
    run_worker(hub.path, "-c", SPANS + "spans(1)\npid = os.fork()\nspans(3)\nif pid: os.wait()")
    hub.wait_for(lambda hub: len(hub.of(wire.Goodbye)) == 2)
    assert len({span.span_id for span in hub.of(wire.Span)}) == 7


@pytest.mark.fault("F86")
def test_descriptors_closed_under_us(hub: RecordingHub) -> None:
    """An app that closes every descriptor gets no byte of ours on a reused number; we connect anew."""
    code = """
spans(1, "before")
os.closerange(3, 200)
import socket, time
pairs = [socket.socketpair() for _ in range(20)]
time.sleep(0.5)
spans(1, "after")
for pair in pairs:
    for one in pair:
        one.setblocking(False)
        try:
            one.recv(1); sys.exit("a byte of ours")
        except BlockingIOError:
            pass
"""
    result = run_worker(hub.path, "-c", SPANS + code)
    assert result.returncode == 0, result.stderr
    hub.wait_for(lambda hub: {"before0", "after0"} <= {span.name for span in hub.of(wire.Span)})


def test_no_hub(hub: RecordingHub) -> None:
    """Without a hub the app runs as ever and says nothing."""
    result = run_worker("/nonexistent/hub.sock", "-c", SPANS + "spans(1000)\nprint('done')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


@pytest.mark.fault("F29")
def test_a_hub_that_does_not_read(hub: RecordingHub) -> None:
    """With a full socket the app goes on; when the hub reads again every frame is whole and losses are counted."""
    hub.paused.set()
    code = """
spans(30000)
sys.stdout.write("recorded\\n"); sys.stdout.flush()
sys.stdin.readline()
"""
    import subprocess
    import sys

    from otel_agent.supervisor.launch import app_environ
    from support.agent import clean_environ

    process = subprocess.Popen(
        [sys.executable, "-c", SPANS + code],
        env=app_environ(clean_environ(), hub.path, "t"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"recorded\n"
    hub.paused.clear()
    hub.wait_for(lambda hub: any(span.name == "s29999" for span in hub.of(wire.Span)[-10:]), timeout=30)
    process.communicate(b"\n", timeout=30)
    assert process.returncode == 0
    hub.wait_for(lambda hub: hub.of(wire.Goodbye))
    counters = hub.of(wire.Counters)[-1]
    assert counters.produced["span"] == 30000
    assert len(hub.of(wire.Span)) + counters.dropped.get("span:ring_full", 0) == 30000


def test_threads_share_the_channel(hub: RecordingHub) -> None:
    """Eight threads recording at once: every record arrives exactly once."""
    code = """
import threading
threads = [threading.Thread(target=spans, args=(500, f"t{n}-")) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    run_worker(hub.path, "-c", SPANS + code)
    hub.wait_for(lambda hub: hub.of(wire.Goodbye))
    names = [span.name for span in hub.of(wire.Span)]
    assert (len(names), len(set(names))) == (4000, 4000)


def test_a_span_of_a_megabyte(hub: RecordingHub) -> None:
    """A record over the frame's limit is dropped and counted; its neighbours arrive."""
    code = """
span = tracer.start_span("huge")
for n in range(128): span.set_attribute(f"k{n}", "x" * 20000)
span.end()
spans(1)
"""
    run_worker(hub.path, "-c", SPANS + code, environ={"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "20000"})
    hub.wait_for(lambda hub: hub.of(wire.Goodbye))
    assert [span.name for span in hub.of(wire.Span)] == ["s0"]
    assert hub.of(wire.Counters)[-1].dropped == {"span:record_too_large": 1}
