"""A test hub: takes workers' connections on a unix socket and keeps the raw frames and decoded records."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from otel_agent import wire

R = TypeVar("R")


class RecordingHub:
    """Context manager; `path` is the socket's path, `records` all records of all connections in order of arrival."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="oa-hub-")
        self.path = os.path.join(self._folder, "hub.sock")
        self.records: list[wire.Record] = []
        self.raw = bytearray()
        self.skipped = 0
        self.connections = 0
        self.paused = threading.Event()
        self._changed = threading.Condition()
        self._closing = False
        self._listen = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listen.bind(self.path)
        self._listen.listen(1024)

    def __enter__(self) -> RecordingHub:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._listen.close()
        os.unlink(self.path)
        os.rmdir(self._folder)

    def of(self, kind: type[R]) -> list[R]:
        """The records of one type."""
        return [record for record in list(self.records) if isinstance(record, kind)]

    def wait_for(self, predicate: Callable[[RecordingHub], object], timeout: float = 10.0) -> None:
        """Wait until `predicate(hub)` is true; AssertionError after `timeout` seconds."""
        until = time.monotonic() + timeout
        with self._changed:
            while not predicate(self):
                left = until - time.monotonic()
                assert left > 0, f"not within {timeout} s; {len(self.records)} records: {self.records[-3:]}"
                self._changed.wait(left)

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listen.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        buffer = bytearray()
        with connection:
            while True:
                while self.paused.is_set():
                    time.sleep(0.01)
                try:
                    data = connection.recv(1 << 18)
                except OSError:
                    return
                if not data:
                    return
                buffer += data
                self._decode(buffer, data)

    def _decode(self, buffer: bytearray, data: bytes) -> None:
        with self._changed:
            self.raw += data
            while len(buffer) >= wire.HEADER.size:
                length, _ = wire.decode_header(buffer)
                end = wire.HEADER.size + length
                if len(buffer) < end:
                    break
                records, skipped = wire.decode_payload(bytes(buffer[wire.HEADER.size : end]))
                self.records += records
                self.skipped += skipped
                del buffer[:end]
            self._changed.notify_all()
