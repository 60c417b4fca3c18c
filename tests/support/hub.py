"""A real hub as a subprocess, with this process as its supervisor, and a test worker that writes real frames."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from otel_agent import wire
from otel_agent.supervisor import launch

from .agent import clean_environ, get, total

SCOPE: tuple[str, str, str, dict[str, Any]] = ("test.scope", "1", "", {})


class Hub:
    """A running hub. `said` and `lingering` are what it told its supervisor."""

    def __init__(self, environ: Mapping[str, str], start: bool = True) -> None:
        self.folder = tempfile.mkdtemp(prefix="oa-test-")
        self.path = os.path.join(self.folder, "hub.sock")
        self.listen = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listen.bind(self.path)
        self.listen.listen(1024)
        self.said: list[str] = []
        self.lingering = False
        self.url: str | None = None
        self.pid = 0
        self._workers: list[Worker] = []
        self._environ = clean_environ(**{"OTEL_EXPORTER_PROMETHEUS_PORT": "0", "OTEL_SERVICE_NAME": "shop", **environ})
        self._buffer = b""
        if start:
            self.start()

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        self._control, theirs = socket.socketpair()
        self._control.settimeout(20)
        self.pid = launch.start_hub(self.listen.fileno(), theirs.fileno(), self.folder, self._environ)
        theirs.close()
        while "ready" not in (message := self.hear()):
            pass
        self.url = message["ready"]["url"]
        assert message["ready"]["pid"] == self.pid

    def hear(self) -> dict[str, Any]:
        """The next message from the hub."""
        while b"\n" not in self._buffer:
            data = self._control.recv(65536)
            assert data, "the hub closed the control channel: " + self.log()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        self.said += [message["say"]] if "say" in message else []
        self.lingering = self.lingering or bool(message.get("lingering"))
        return message

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to the hub."""
        self._control.sendall(json.dumps(message).encode() + b"\n")

    def announce(self, pid: int) -> None:
        """Name the app's process."""
        self.tell({"app": {"pid": pid, "command": ["app"], "started": time.time_ns()}})

    def exit(self, deadline: float = 2.0) -> int:
        """Tell the hub that the app has ended, and wait for its end; returns its exit status."""
        self.tell({"exit": {"pid": 1, "code": 0, "signal": None, "core": False, "deadline": deadline}})
        return self.wait()

    def wait(self, timeout: float = 20) -> int:
        """The exit status of the hub once it has ended."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        raise AssertionError("the hub did not end")

    def leave(self) -> None:
        """Close the control channel, as a supervisor that was killed."""
        self._control.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> tuple[int, str]:
        """(status, body) of a request to the hub."""
        return get(f"{self.url}{path}", headers, method)

    def token(self) -> str:
        """The run's token."""
        with open(os.path.join(self.folder, "token"), encoding="ascii") as file:
            return file.read()

    def wait_until_ready(self) -> None:
        """Wait until /ready answers 200."""
        until = time.monotonic() + 10
        while self.get("/ready")[0] != 200:
            assert time.monotonic() < until, "the hub is not ready"
            time.sleep(0.02)

    def metrics(self, accept: str = "") -> str:
        """The text of /metrics."""
        status, text = self.get("/metrics", {"Accept": accept} if accept else None)
        assert status == 200, text
        return text

    def wait_for(self, name: str, value: float, **labels: str) -> str:
        """Wait until the sum of a sample's values is `value`; returns that text of /metrics."""
        until = time.monotonic() + 10
        while True:
            text = self.metrics()
            found = total(text, name, **labels)
            if found == value:
                return text
            assert time.monotonic() < until, f"{name}{labels} is {found}, not {value}\n{text}"
            time.sleep(0.02)

    def log(self) -> str:
        """The hub's log."""
        try:
            with open(os.path.join(self.folder, "hub.log"), encoding="utf-8") as file:
                return file.read()
        except OSError:
            return ""

    def worker(self, worker_id: bytes | None = None) -> Worker:
        """A new connection of a worker."""
        self._workers.append(Worker(self.path, worker_id))
        return self._workers[-1]

    def kill(self) -> None:
        """End it at once, and clean up."""
        for worker in self._workers:
            worker.socket.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for closing in (self.listen, self._control):
            closing.close()
        if os.path.isdir(self.folder):
            for name in os.listdir(self.folder):
                os.unlink(os.path.join(self.folder, name))
            os.rmdir(self.folder)


@contextmanager
def hub(**environ: str) -> Iterator[Hub]:
    """A hub with these settings, killed at the end if it still runs. Its log must be empty."""
    running = Hub(environ)
    try:
        yield running
        assert "Traceback" not in running.log(), running.log()
    finally:
        running.kill()


class Worker:
    """A connection of a worker, by hand."""

    def __init__(self, path: str, worker_id: bytes | None = None) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.sequence = itertools.count()
        self.ids = itertools.count()
        self.attributes: dict[str, int] = {}
        self.send(hello(worker_id or os.urandom(16)))

    def send(self, *records: wire.Record) -> None:
        """One frame."""
        self.socket.sendall(wire.encode_frame(next(self.sequence), list(records)))

    def instrument(self, kind: str, name: str, unit: str = "", buckets: tuple[float, ...] | None = None) -> int:
        """Define an instrument; returns its id."""
        number = next(self.ids)
        self.send(wire.DefineInstrument(number, kind, name, unit, f"About {name}.", buckets, "test.scope", "1", ""))
        return number

    def record(self, instrument: int, value: float, ids: tuple[bytes, bytes] = (b"", b""), **attributes: Any) -> None:
        """One measurement; `__` in an attribute's name stands for a dot."""
        named = {key.replace("__", "."): given for key, given in attributes.items()}
        text = json.dumps(named)
        if text not in self.attributes:
            self.attributes[text] = next(self.ids)
            self.send(wire.DefineAttributes(self.attributes[text], named))
        self.send(wire.Measurement(instrument, self.attributes[text], value, *ids))

    def close(self) -> None:
        """End in order."""
        self.send(wire.Goodbye())
        self.socket.close()


def hello(worker_id: bytes) -> wire.Hello:
    """A greeting of this process."""
    return wire.Hello(
        worker_id, os.getpid(), os.getppid(), "0", "3", "test", time.time_ns(), {"process.pid": os.getpid()}
    )


def span(number: int = 1, **changed: Any) -> wire.Span:
    """An ended span with plain values."""
    given: dict[str, Any] = {
        "trace_id": number.to_bytes(16, "big"),
        "span_id": number.to_bytes(8, "big"),
        "parent_id": b"",
        "parent_is_remote": False,
        "trace_state": "",
        "flags": 1,
        "name": "GET /",
        "kind": 2,
        "start": 1,
        "end": 2,
        "attributes": {"http.route": "/", "http.response.status_code": 200},
        "events": [],
        "links": [],
        "status": 0,
        "status_message": "",
        "scope": SCOPE,
    }
    return wire.Span(**{**given, **changed})


def log(body: str = "hello") -> wire.Log:
    """A log record with plain values."""
    return wire.Log(1, 2, 9, "INFO", body, {}, b"", b"", 0, "", SCOPE)
