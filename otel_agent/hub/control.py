"""The channel to the supervisor: one JSON object per line, both ways."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

BEAT = 5.0  # seconds between heartbeats
MAX_LINE = 1 << 20


class Control:
    """The hub's end. What the supervisor does not take at once waits here."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._unsent = bytearray()
        self._received = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_message: Callable[[dict[str, Any]], None] = lambda message: None
        self._on_end: Callable[[], None] = lambda: None

    def tell(self, message: dict[str, Any]) -> None:
        """Send one message; a supervisor that is gone does not hear it."""
        self._unsent += json.dumps(message).encode() + b"\n"
        self._send()

    def say(self, text: str) -> None:
        """Let the supervisor print one sentence on the terminal, once."""
        self.tell({"say": text})

    def start(self, on_message: Callable[[dict[str, Any]], None], on_end: Callable[[], None]) -> None:
        """Listen from now on, inside the running event loop, and send heartbeats."""
        self._loop = asyncio.get_running_loop()
        self._on_message, self._on_end = on_message, on_end
        self._loop.add_reader(self._socket.fileno(), self._receive)
        self._beat()

    def _beat(self) -> None:
        if self._loop is not None:
            self.tell({"beat": 1})
            self._loop.call_later(BEAT, self._beat)

    def _send(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            if self._loop is not None:
                self._loop.add_writer(self._socket.fileno(), self._send)
            del self._unsent[MAX_LINE:]
            return
        except OSError:
            self._unsent.clear()
        if self._loop is not None and self._socket.fileno() >= 0:
            self._loop.remove_writer(self._socket.fileno())

    def _receive(self) -> None:
        try:
            data = self._socket.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                self._on_message(message)

    def _end(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._loop = None
        self._socket.close()
        self._on_end()
