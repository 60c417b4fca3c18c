"""The hub as the supervisor sees it: a process to start, to listen to, to restart, and to end."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import time

from otel_agent.diagnostics import say

from . import launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

RESTART_DELAYS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
HEALTHY_AFTER = 60.0
MAX_CRASHES = 5  # within HEALTHY_AFTER: telemetry is off for this run
SILENCE = 30.0  # seconds without a heartbeat


class Hub:
    """Starts the hub on the listening socket and keeps it running until `stop`."""

    def __init__(self, listen: socket.socket, folder: str, environ: Mapping[str, str]) -> None:
        self._listen = listen
        self._folder = folder
        self._environ = environ
        self._control: socket.socket | None = None
        self._buffer = b""
        self._crashes: list[float] = []
        self._restart_at = 0.0
        self._last_beat = 0.0
        self._app: dict[str, Any] = {}
        self.pid = 0
        self.ready: dict[str, Any] | None = None
        self.lingering = False
        self.off = False

    def start(self) -> None:
        """Start the process. A hub that cannot be started costs telemetry only."""
        ours, theirs = socket.socketpair()
        try:
            self.pid = launch.start_hub(self._listen.fileno(), theirs.fileno(), self._folder, self._environ)
        except OSError as error:
            ours.close()
            self.pid = 0
            self._turn_off(f"the hub cannot be started ({error.strerror}); telemetry is off")
            return
        finally:
            theirs.close()
        ours.setblocking(False)
        # SIGIO when the hub says something: it wakes the same sigtimedwait as every other signal.
        fcntl.fcntl(ours, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(ours, fcntl.F_SETFL, fcntl.fcntl(ours, fcntl.F_GETFL) | os.O_ASYNC)
        self._control, self._buffer = ours, b""
        self._last_beat = time.monotonic()
        self.ready = None
        if self._app:
            self.tell({"app": self._app})

    def announce(self, app: dict[str, Any]) -> None:
        """Tell the hub, and every successor of it, which process is the app."""
        self._app = app
        self.tell({"app": app})

    def tell(self, message: dict[str, Any]) -> None:
        """Send one message; a hub that is gone does not hear it."""
        if self._control is None:
            return
        try:
            self._control.send(json.dumps(message).encode() + b"\n", socket.MSG_NOSIGNAL)
        except OSError:
            pass

    def listen(self) -> None:
        """Read what the hub says: readiness, heartbeats, sentences to print."""
        while self._control is not None:
            try:
                data = self._control.recv(65536)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if not data:
                self._control.close()
                self._control = None
                return
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                self._hear(line)

    def _hear(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        self._last_beat = time.monotonic()
        if isinstance(message.get("ready"), dict):
            self.ready = message["ready"]
        if isinstance(message.get("say"), str):
            say(message["say"])
        if "lingering" in message:
            self.lingering = bool(message["lingering"])

    def ended(self) -> None:
        """The process is gone although nobody asked it to go: restart it later, or give up."""
        self.listen()
        self.pid, self.ready = 0, None
        now = time.monotonic()
        self._crashes = [at for at in self._crashes if now - at < HEALTHY_AFTER] + [now]
        if len(self._crashes) >= MAX_CRASHES:
            self._turn_off(f"the hub crashed {MAX_CRASHES} times in a minute ({self._last_words()}); telemetry is off")
            return
        self._restart_at = now + RESTART_DELAYS[min(len(self._crashes), len(RESTART_DELAYS)) - 1]

    def _last_words(self) -> str:
        try:
            with open(os.path.join(self._folder, "hub.log"), encoding="utf-8", errors="replace") as file:
                lines = [line.strip() for line in file.read()[-4000:].splitlines() if line.strip()]
        except OSError:
            lines = []
        return lines[-1][:300] if lines else "no message"

    def _turn_off(self, sentence: str) -> None:
        self.off = True
        say(sentence)
        self._listen.close()
        try:
            os.unlink(os.path.join(self._folder, "hub.sock"))
        except OSError:
            pass

    def tend(self) -> float:
        """Restart what is due, kill what is silent; returns the seconds until it wants to be called again."""
        if self.off:
            return 3600.0
        now = time.monotonic()
        if not self.pid:
            if now >= self._restart_at:
                self.start()
            else:
                return self._restart_at - now
        elif now - self._last_beat > SILENCE:
            self.kill()
        return 5.0

    def kill(self) -> None:
        """End the hub at once."""
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def has_nothing(self) -> bool:
        """Whether no worker can have said anything yet: the hub accepts none before it is ready, and none waits."""
        if self.off or not self.pid:
            return True
        if self.ready is not None:
            return False
        poll = select.poll()
        poll.register(self._listen.fileno(), select.POLLIN)
        return not poll.poll(0)
