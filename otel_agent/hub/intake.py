"""Takes the workers' connections on the unix socket: admission, framing, and one state per connection.

Everything here runs in the event loop's thread. A broken connection is closed, counted and harms no other one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from otel_agent import wire

READ = 1 << 18  # bytes read at once, so that one busy worker does not keep the others waiting
# Seconds a connection is left alone after it was read. A send that wakes nobody costs the app a tenth of one that
# does, and the hub takes what came meanwhile in one go; the socket's buffer holds far more than comes in that time.
REST = 0.005
ACCEPTS = 256
NO_DESCRIPTORS = 1.0  # seconds until the next attempt to accept
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_log = logging.getLogger(__name__)


class Worker(Protocol):
    """What a connection's records are given to; made when its hello has arrived."""

    def take(self, records: list[wire.Record]) -> None:
        """The records of one frame, in order."""

    def end(self) -> None:
        """The connection has ended."""


class Connection:
    """One worker's stream of frames."""

    def __init__(self, intake: Intake, accepted: socket.socket) -> None:
        self._intake = intake
        self._socket = accepted
        self._rest = bytearray()
        self._worker: Worker | None = None
        self.open = True

    def fileno(self) -> int:
        """The socket's number, for the event loop."""
        return self._socket.fileno()

    def read(self) -> bool:
        """Read what is there, at most READ bytes; whether there was anything."""
        buffer = self._intake.buffer
        try:
            count = self._socket.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            count = 0
        if count == 0:
            self.close("torn_frame" if self._rest else "")
            return True
        try:
            with memoryview(buffer)[:count] as view:
                self._feed(view)
        except wire.FrameError as error:
            _log.warning("connection closed: %s", error)
            self.close("frame_invalid")
        return True

    def _feed(self, view: memoryview) -> None:
        if not self._rest:
            done = self._frames(view)
            self._rest += view[done:]
            return
        self._rest += view
        with memoryview(self._rest) as whole:
            done = self._frames(whole)
        del self._rest[:done]

    def _frames(self, view: memoryview) -> int:
        """Decode every complete frame; returns the number of bytes they had."""
        position, size = 0, len(view)
        while self.open and size - position >= wire.HEADER.size:
            length, _ = wire.decode_header(view[position : position + wire.HEADER.size])
            end = position + wire.HEADER.size + length
            if end > size:
                break
            records, skipped = wire.decode_payload(view[position + wire.HEADER.size : end])
            if skipped:
                self._intake.reject("record_invalid", skipped)
            self._deliver(records)
            position = end
        return position

    def _deliver(self, records: list[wire.Record]) -> None:
        if not records:
            return
        if self._worker is None:
            if not isinstance(records[0], wire.Hello):
                raise wire.FrameError("the first record is no hello")
            self._worker = self._intake.welcome(records[0])
        try:
            self._worker.take(records)
        except Exception:  # noqa: BLE001  a fault of ours costs one frame, not the hub
            _log.exception("a frame was lost")
            self._intake.reject("internal_error", 1)

    def close(self, reason: str = "") -> None:
        """End the connection; `reason` is counted."""
        if not self.open:
            return
        self.open = False
        if reason:
            self._intake.reject(reason, 1)
        self._intake.forget(self)
        self._socket.close()
        if self._worker is not None:
            self._worker.end()


class Intake:
    """The socket's server. `welcome` makes the receiver of a connection's records from its hello."""

    def __init__(self, descriptor: int, welcome: Callable[[wire.Hello], Worker]) -> None:
        self._listen = socket.socket(fileno=descriptor)
        self._listen.setblocking(False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.buffer = bytearray(READ)
        self.welcome = welcome
        self.connections: set[Connection] = set()
        self.accepted = 0
        self.rejected: dict[str, int] = {}
        self._resting: list[Connection] = []

    def start(self) -> None:
        """Accept from now on, inside the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listen.fileno(), self.accept)

    def reject(self, reason: str, count: int) -> None:
        """Count frames or records that were not taken."""
        self.rejected[reason] = self.rejected.get(reason, 0) + count

    def accept(self) -> bool:
        """Accept who waits; whether there was anyone."""
        for number in range(ACCEPTS):
            try:
                accepted, _ = self._listen.accept()
            except (BlockingIOError, InterruptedError):
                return number > 0
            except OSError as error:
                self._pause(error)
                return False
            self._admit(accepted)
        return True

    def _pause(self, error: OSError) -> None:
        _log.warning("accepting pauses for a second: %s", error)
        assert self._loop is not None
        self._loop.remove_reader(self._listen.fileno())
        self._loop.call_later(NO_DESCRIPTORS, self.start)

    def _admit(self, accepted: socket.socket) -> None:
        if not is_ours(accepted):
            self.reject("wrong_user", 1)
            accepted.close()
            return
        accepted.setblocking(False)
        self.accepted += 1
        connection = Connection(self, accepted)
        self.connections.add(connection)
        assert self._loop is not None
        self._loop.add_reader(connection.fileno(), self._read, connection)

    def _read(self, connection: Connection) -> None:
        connection.read()
        if not connection.open:
            return
        assert self._loop is not None
        self._loop.remove_reader(connection.fileno())
        if not self._resting:
            self._loop.call_later(REST, self._wake)
        self._resting.append(connection)

    def _wake(self) -> None:
        assert self._loop is not None
        resting, self._resting = self._resting, []
        for connection in resting:
            if connection.open:
                self._loop.add_reader(connection.fileno(), self._read, connection)

    def forget(self, connection: Connection) -> None:
        """Stop listening to a connection."""
        if self._loop is not None:
            self._loop.remove_reader(connection.fileno())
        self.connections.discard(connection)

    def drain(self) -> None:
        """Read everything that has arrived, in connections that still wait in the accept queue too."""
        while True:
            found = self.accept()
            for connection in list(self.connections):
                while connection.open and connection.read():
                    found = True
            if not found:
                return


def is_ours(accepted: socket.socket) -> bool:
    """Whether the peer runs as our user or as root. Where the system cannot tell, the socket's mode has decided."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _, user, _ = _CREDENTIALS.unpack(accepted.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return user in (0, os.geteuid())
