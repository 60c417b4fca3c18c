"""Write-through channel from the app to the hub.

A record is handed to the kernel by the thread that ended it, without ever blocking: what is in the socket's buffer
survives this process. Measurements, and spans inside an open local root, ride on the next frame; if the last one went
out under 20 ms ago a short-lived thread covers the tail. Whatever the kernel does not take waits in a ring of 1 MiB
whose oldest frames give way, counted.
"""

from __future__ import annotations

import _socket
import errno
import itertools
import os
import random
from collections import deque

import msgspec

from otel_agent import wire

from . import native, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RING_BYTES = 1 << 20
TAIL = 0.02  # seconds a measurement may wait
IDLE = 0.1  # seconds the thread outlives the last byte
RECONNECT = 0.25  # seconds between attempts to connect, plus or minus a half
BATCH = 512  # records in one frame
FLAGS = _socket.MSG_DONTWAIT | getattr(_socket, "MSG_NOSIGNAL", 0)


class _Frame:
    """An encoded frame in the ring, with what is lost when it is dropped."""

    __slots__ = ("counts", "data")

    def __init__(self, data: bytes, counts: dict[str, int]) -> None:
        self.data = data
        self.counts = counts


class Channel:
    """One stream of frames to the hub. Every method is thread-safe, does not block and does not raise."""

    def __init__(self, path: str, hello: Callable[[bytes], wire.Hello]) -> None:
        self._path = path
        self._hello = hello
        self.definitions: list[wire.Record] = []
        self.ids = itertools.count()  # of definitions; next() is atomic
        self.on_first_send: Callable[[], None] | None = None
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = native.allocate_lock()
        self._pending: deque[wire.Record] = deque()
        self._ring: deque[_Frame] = deque()
        self._ring_bytes = 0
        self._sent_of_head = 0
        self._defined = 0
        self._sequence = 0
        self._socket: _socket.socket | None = None
        self._inode = (0, 0)
        self._next_connect = 0.0
        self._last_send = 0.0
        self._threads = 0
        self._wake = native.allocate_lock()
        self._wake.acquire()
        self._stop = False
        self._forking = False
        self._started = False
        self._worker_id = os.urandom(16)
        self.produced: dict[str, int] = {}
        self.dropped: dict[str, int] = {}

    # recording

    def send(self, record: wire.Record) -> None:
        """Hand a record, and everything that waits, to the kernel."""
        if os.getpid() != self._pid:  # forked without hooks
            self.after_fork_in_child()
        if not self._send_alone(record):
            self._pending.append(record)
            self.flush()

    def _send_alone(self, record: wire.Record) -> bool:
        """The usual case in one go: nothing waits, nobody else sends, the socket takes the frame whole."""
        if self._pending or self._ring or self._socket is None or not self._lock.acquire(False):
            return False
        try:
            if self._pending or self._ring or self._defined != len(self.definitions):
                return False
            connected = self._connected()
            if connected is None:
                return False
            try:
                data = wire.encode_frame(self._sequence, [record])
                if len(data) > wire.MAX_PAYLOAD:
                    return False
                sent = connected.send(data, FLAGS)
            except (OSError, msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
                return False
            signal = _SIGNAL.get(record.__class__)
            counts = {} if signal is None else {signal: 1}
            if signal is not None:
                self.produced[signal] = self.produced.get(signal, 0) + 1
            self._sequence += 1
            self._last_send = native.monotonic()
            if sent < len(data):
                self._ring.append(_Frame(data, counts))
                self._ring_bytes += len(data)
                self._sent_of_head = sent
        finally:
            self._lock.release()
        if self._pending or self._ring:
            self.flush()
        return True

    def send_soon(self, record: wire.Record) -> None:
        """Let a record ride on the next frame, at the latest in 20 ms: measurements, and spans inside an open one."""
        self._pending.append(record)
        if native.monotonic() - self._last_send >= TAIL or len(self._pending) >= BATCH:
            if os.getpid() != self._pid:
                self.after_fork_in_child()
                self._pending.append(record)
            self.flush()
        elif not self._threads:
            self._start_thread()

    def flush(self) -> None:
        """Send what waits. A thread that finds another one sending leaves its records to that one."""
        while self._pending:
            if not self._lock.acquire(False):
                return  # its holder looks at the pending records again after letting go
            try:
                self._encode()
                self._write()
            finally:
                self._lock.release()
        if self._ring and not self._threads:
            self._start_thread()

    # encoding

    def _encode(self) -> None:
        pending = self._pending
        while pending:
            records: list[wire.Record] = []
            while pending and len(records) < BATCH:
                records.append(pending.popleft())
            if not self._started:
                self._started = True
                if self.on_first_send is not None:
                    self.on_first_send()
            self._enqueue(records)

    def _enqueue(self, records: list[wire.Record]) -> None:
        counts: dict[str, int] = {}
        for record in records:
            signal = _SIGNAL.get(record.__class__)
            if signal is not None:
                counts[signal] = counts.get(signal, 0) + 1
        for signal, count in counts.items():
            self.produced[signal] = self.produced.get(signal, 0) + count
        if self._defined < len(self.definitions):
            new = self.definitions[self._defined :]
            self._defined += len(new)
            records = [*new, *records]
        self._append(records, counts)

    def _append(self, records: list[wire.Record], counts: dict[str, int]) -> None:
        try:
            data = wire.encode_frame(self._sequence, records)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            records = [clean for record in records if (clean := self._clean(record)) is not None]
            if not records:
                return
            data = wire.encode_frame(self._sequence, records)
        if len(data) > wire.MAX_PAYLOAD:
            self._split(records, counts)
            return
        self._sequence += 1
        self._ring.append(_Frame(data, counts))
        self._ring_bytes += len(data)
        self._make_room()

    def _split(self, records: list[wire.Record], counts: dict[str, int]) -> None:
        if len(records) == 1:
            self._drop(counts, "record_too_large")
            return
        half = len(records) // 2
        for part in (records[:half], records[half:]):
            signals = [_SIGNAL.get(record.__class__) for record in part]
            self._append(part, {signal: signals.count(signal) for signal in signals if signal is not None})

    def _clean(self, record: wire.Record) -> wire.Record | None:
        """The record with values that MessagePack can carry; None, counted, when even that fails."""
        try:
            wire.encoder.encode(record)
            return record
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            pass
        try:
            clean: wire.Record = values.encodable(record)
            wire.encoder.encode(clean)
            return clean
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            self._drop({_SIGNAL.get(record.__class__, "other"): 1}, "unencodable")
            return None

    def _make_room(self) -> None:
        while self._ring_bytes > RING_BYTES and len(self._ring) > 1:
            index = 1 if self._sent_of_head else 0  # never the rest of a half-sent frame
            frame = self._ring[index]
            del self._ring[index]
            self._ring_bytes -= len(frame.data)
            self._drop(frame.counts, "ring_full")

    def _drop(self, counts: dict[str, int], reason: str) -> None:
        for signal, count in counts.items():
            key = f"{signal}:{reason}"
            self.dropped[key] = self.dropped.get(key, 0) + count

    # the socket

    def _write(self) -> None:
        """Send from the ring until it is empty or the kernel takes no more."""
        while self._ring:
            connected = self._connected()
            if connected is None:
                return
            frame = self._ring[0]
            try:
                sent = connected.send(memoryview(frame.data)[self._sent_of_head :], FLAGS)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return
                self._disconnect(close=True)
                return
            self._last_send = native.monotonic()
            self._sent_of_head += sent
            if self._sent_of_head < len(frame.data):
                return
            self._ring.popleft()
            self._ring_bytes -= len(frame.data)
            self._sent_of_head = 0

    def _connected(self) -> _socket.socket | None:
        current = self._socket
        if current is not None:
            try:
                status = os.fstat(current.fileno())
            except OSError:
                status = None
            if status is not None and (status.st_dev, status.st_ino) == self._inode:
                return current
            self._disconnect(close=False)  # the app closed the number and may have reused it
        return self._connect()

    def _connect(self) -> _socket.socket | None:
        now = native.monotonic()
        if now < self._next_connect:
            return None
        self._next_connect = now + RECONNECT * (0.5 + random.random())
        made = None
        try:
            made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            made.setblocking(False)
            made.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, RING_BYTES)
            made.connect(self._path)
            status = os.fstat(made.fileno())
            greeting: list[wire.Record] = [self._hello(self._worker_id), *self.definitions[: self._defined]]
            greeting.append(wire.Counters(self.produced, self.dropped))
            data = wire.encode_frame(self._sequence, greeting)
            if made.send(data, FLAGS) != len(data):
                made.close()  # a half-sent greeting is of no use; the next attempt starts anew
                return None
        except (OSError, msgspec.MsgspecError, TypeError, ValueError, OverflowError):
            if made is not None:
                made.close()
            return None
        self._sequence += 1
        self._socket = made
        self._inode = (status.st_dev, status.st_ino)
        self._sent_of_head = 0
        return made

    def _disconnect(self, close: bool) -> None:
        if self._socket is not None:
            if close:
                self._socket.close()
            else:
                self._socket.detach()
        self._socket = None
        self._sent_of_head = 0

    # the tail

    def _start_thread(self) -> None:
        if self._threads or self._stop or self._forking:
            return
        self._threads += 1
        try:
            native.start_new_thread(self._cover_tail, (self._pid,))
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._threads -= 1

    def _cover_tail(self, pid: int) -> None:
        idle = 0.0
        while not self._stop and idle < IDLE and os.getpid() == pid:
            self._wake.acquire(timeout=TAIL)
            if self._pending:
                self.flush()
                idle = 0.0
            elif self._ring:
                if self._lock.acquire(False):
                    try:
                        self._write()
                    finally:
                        self._lock.release()
                idle = 0.0
            else:
                idle += TAIL
        self._threads -= 1
        if not self._stop and (self._pending or self._ring):
            self._start_thread()

    # life

    def close(self) -> None:
        """Say goodbye and try for at most 50 ms to hand over what is unsent."""
        if self._socket is None and not self._pending and not self._ring:
            return
        self._pending.append(wire.Counters(self.produced, self.dropped))
        self._pending.append(wire.Goodbye())
        self._stop = True
        until = native.monotonic() + 0.05
        self.flush()
        while (self._ring or self._pending) and native.monotonic() < until:
            native.sleep(0.002)
            self._next_connect = 0.0
            self.flush()
            if self._lock.acquire(False):
                try:
                    self._write()
                finally:
                    self._lock.release()
        self._stop = False  # an app may record during its own exit handlers, after ours

    def before_fork(self) -> None:
        """Take the lock for at most 2 ms and ask the thread to end, for at most 3 ms."""
        self._forking = self._stop = True
        if self._threads:
            self._wake_thread()
        until = native.monotonic() + 0.003
        while self._threads and native.monotonic() < until:
            native.sleep(0.0002)

    def _wake_thread(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:
            pass  # somebody else has woken it

    def after_fork_in_parent(self) -> None:
        """Go on; the thread starts again if it is needed."""
        self._forking = self._stop = False
        if (self._pending or self._ring) and not self._threads:
            self._start_thread()

    def after_fork_in_child(self) -> None:
        """Forget everything inherited; close the inherited socket if it is still ours."""
        inherited, inode = self._socket, self._inode
        self._socket = None
        if inherited is not None:
            try:
                status = os.fstat(inherited.fileno())
                if (status.st_dev, status.st_ino) == inode:
                    inherited.close()
                else:
                    inherited.detach()
            except OSError:
                inherited.detach()
        self._reset()


_SIGNAL: dict[type, str] = {wire.Span: "span", wire.Log: "log", wire.Measurement: "metric"}
