"""The app's processes and the host, read by the hub from outside: the app pays nothing for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from . import cgroup

FRESH = 1.0  # seconds one reading serves all instruments and readers
Read = Callable[["Reading"], Iterable[Observation]]


class Reading:
    """The process tree at one moment; sizes in bytes, `cpu` in seconds of CPU per second and per core."""

    def __init__(self) -> None:
        self.processes = 0
        self.rss = self.vms = self.threads = self.files = 0
        self.cpu: float | None = None


class Processes:
    """The supervised process and all its descendants."""

    def __init__(self) -> None:
        self._root: psutil.Process | None = None
        self._started = time.time()
        self._cpu_times: dict[int, float] = {}
        self._read_at = 0.0
        self._reading = Reading()
        self._host_before = psutil.cpu_times()
        self._host: dict[str, float] = {}
        self._listens = False

    def watch(self, pid: int, started: float) -> None:
        """The app's pid and its start, in seconds since the epoch."""
        self._started = started
        try:
            self._root = psutil.Process(pid)
        except psutil.Error:
            self._root = None

    @property
    def alive(self) -> bool:
        """Whether the supervised process runs; true while the supervisor has not named it."""
        if self._root is None:
            return True
        try:
            return self._root.is_running() and self._root.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def tree(self) -> list[psutil.Process]:
        """The app's processes."""
        try:
            return [self._root, *self._root.children(recursive=True)] if self._root is not None else []
        except psutil.Error:
            return []

    def listens(self) -> bool:
        """Whether a process of the app has a TCP port open; once true it stays true."""
        if not self._listens:
            self._listens = any(_listens(process) for process in self.tree())
        return self._listens

    def reading(self) -> Reading:
        """A reading that is at most FRESH seconds old."""
        now = time.monotonic()
        elapsed = now - self._read_at
        if elapsed < FRESH:
            return self._reading
        self._read_at = now
        reading = Reading()
        times = {process.pid: _add(reading, process) for process in self.tree()}
        if self._cpu_times and times:
            spent = sum(max(value - self._cpu_times.get(pid, 0.0), 0.0) for pid, value in times.items())
            reading.cpu = spent / elapsed / (os.cpu_count() or 1)
        self._cpu_times = times
        self._read_host()
        self._reading = reading
        return reading

    def _read_host(self) -> None:
        now = psutil.cpu_times()
        change = {state: max(getattr(now, state) - getattr(self._host_before, state), 0.0) for state in now._fields}
        for guest, host in (("guest", "user"), ("guest_nice", "nice")):  # Linux counts them in both
            change.pop(guest, None)
            change[host] = change.get(host, 0.0)
        total = sum(change.values())
        if total:
            self._host_before = now
            self._host = {state: value / total for state, value in change.items()}

    def instrument(self, meter: Meter) -> None:
        """Register the instruments (FEATURES section 2, process and system rows)."""
        gauge, up_down = meter.create_observable_gauge, meter.create_observable_up_down_counter
        gauge("process.uptime", [self._uptime], "s", "Time since the app was started.")
        gauge("process.cpu.utilization", [self._cpu], "1", "CPU time of the app's processes per second and core.")
        up_down("process.memory.usage", [self._number("rss")], "By", "Physical memory of the app's processes.")
        up_down("process.memory.virtual", [self._number("vms")], "By", "Virtual memory of the app's processes.")
        up_down("process.thread.count", [self._number("threads")], "{thread}", "Threads of the app's processes.")
        up_down(
            "process.unix.file_descriptor.count",
            [self._number("files")],
            "{file_descriptor}",
            "File descriptors the app's processes have open.",
        )
        gauge("system.cpu.utilization", [self._host_cpu], "1", "Share of the host's CPU time by state.")
        gauge("system.memory.utilization", [_host_memory], "1", "Share of the host's or container's memory by state.")

    def _uptime(self, options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(max(time.time() - self._started, 0.0))] if self.alive else []

    def _cpu(self, options: CallbackOptions) -> Iterable[Observation]:
        cpu = self.reading().cpu
        return [] if cpu is None else [Observation(cpu)]

    def _number(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(options: CallbackOptions) -> Iterable[Observation]:
            reading = self.reading()
            return [Observation(getattr(reading, name))] if reading.processes else []

        return read

    def _host_cpu(self, options: CallbackOptions) -> Iterable[Observation]:
        self.reading()
        return [Observation(share, {"system.cpu.state": state}) for state, share in self._host.items()]


def _add(reading: Reading, process: psutil.Process) -> float:
    """Add one process to a reading; returns its CPU seconds. One that has just ended adds nothing."""
    try:
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            threads, files = process.num_threads(), process.num_fds()
    except psutil.Error:
        return 0.0
    reading.processes += 1
    reading.rss += memory.rss
    reading.vms += memory.vms
    reading.threads += threads
    reading.files += files
    return float(times.user + times.system)


def _listens(process: psutil.Process) -> bool:
    connections: Any = getattr(process, "net_connections", None) or process.connections  # psutil < 6
    try:
        return any(one.status == psutil.CONN_LISTEN for one in connections("tcp"))
    except (psutil.Error, OSError):
        return False


def _host_memory(options: CallbackOptions) -> Iterable[Observation]:
    host = psutil.virtual_memory()
    total, used = cgroup.memory() or (host.total, host.total - host.available)
    share = min(used / total, 1.0) if total else 0.0
    return [
        Observation(share, {"system.memory.state": "used"}),
        Observation(1.0 - share, {"system.memory.state": "free"}),
    ]


def belongs(instance: str) -> bool:
    """Whether a Python process of ours that was started under the run `instance` lives (RELIABILITY 0.3)."""
    mark = f"OTEL_AGENT_INSTANCE={instance}".encode()
    for pid in psutil.pids():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if mark not in file.read().split(b"\0"):
                    continue
            if os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith(("python", "pypy")):
                return True
        except OSError:
            continue
    return False
