"""Takes the requests of one destination and signal from the queue, in order, one at a time, and acts on the answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from otel_agent.hub.export import body
from otel_agent.hub.export.answer import Action, Answer
from otel_agent.hub.export.destination import Destination
from otel_agent.hub.export.pacing import Pacing
from otel_agent.hub.export.queue import Queue, Row
from otel_agent.hub.export.signals import SIGNALS
from otel_agent.hub.export.tally import Tally
from otel_agent.hub.export.transport import Transport

MAX_FAULTS = 3


class Sender:
    """`step` is the whole of it; `start` runs it in a thread. `say` gets lines for people; `problem` is the
    last trouble since the last delivery, or ""."""

    def __init__(
        self,
        destination: Destination,
        transport: Transport,
        queue: Queue,
        tally: Tally,
        say: Callable[[str], None],
        pacing: Pacing | None = None,
    ) -> None:
        self.destination = destination
        self.key = (destination.name, destination.signal)
        self.pacing = pacing or Pacing()
        self.problem = ""
        self.resends = 0
        self._transport = transport
        self._queue = queue
        self._tally = tally
        self._say = say
        self._said: set[str] = set()
        self._record = SIGNALS[destination.signal].record
        self._drain_until: float | None = None
        self._faults = 0
        self._sending = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"{self.key[0]}-{self.key[1]}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def drain(self, until: float) -> None:
        """From now on send without pauses, each request until `until` (monotonic) at the latest; no second tries."""
        self._drain_until = until
        self._queue.wake()

    def close(self) -> None:
        """Stop after the request under way."""
        self._stopping = True
        self._queue.wake()

    @property
    def idle(self) -> bool:
        """Whether nothing is left to send, or nothing can be sent now because the destination fails."""
        return not self._sending and (self.pacing.failing or self._queue.peek(self.key) is None)

    def step(self) -> float | None:
        """Send the oldest request if it is its time. Returns the seconds until the next call makes sense, None when
        that is when something is queued."""
        row = self._queue.peek(self.key)
        if row is None:
            return None
        timeout = self.destination.timeout
        pause = self.pacing.wait()
        if self._drain_until is not None:
            timeout = min(timeout, self._drain_until - time.monotonic())
            pause = pause if self.pacing.failing else 0.0
        if pause > 0:
            return pause
        if timeout <= 0:
            return None
        if self._queue.dispatch(row):
            self._sending = True
            try:
                self._apply(row, self._transport.send(row.body, timeout))
            finally:
                self._sending = False
                self._queue.wake()  # a drain waits for this
        return 0.0

    def _apply(self, row: Row, answer: Answer) -> None:
        self._note(answer)
        if answer.action is Action.RETRY:
            self.resends += 1
            self.pacing.failure(answer.wait)
            self._queue.release(row)
        elif answer.action is Action.SPLIT:
            self._split(row)
        elif answer.action is Action.DELIVERED:
            rejected = min(answer.rejected, row.records)
            self.pacing.success()
            self._tally.export(self._record, self.key[0], row.records - rejected)
            self._tally.drop(self._record, "collector_rejected", rejected, self.key[0])
            self._queue.delete(row)
        else:
            self.pacing.refused() if answer.action is Action.REFUSED else self.pacing.dropped()
            self._tally.drop(self._record, answer.reason, row.records, self.key[0])
            self._queue.delete(row)

    def _split(self, row: Row) -> None:
        """Put two halves in the place of a request that was too large; a half, or a single record, is dropped."""
        halves = [] if row.half else body.halved(self.destination.signal, row.body, body.form(self.destination))
        if not halves:
            self.pacing.dropped()
            self._tally.drop(self._record, "too_large", row.records, self.key[0])
        self._queue.replace(row, halves)

    def _note(self, answer: Answer) -> None:
        """Keep the problem for /health; say it once when it is one that will not pass by itself."""
        self.problem = f"{self.destination.shown} {answer.problem}" if answer.problem else ""
        kind = f"{answer.action} {answer.reason} {answer.rejected > 0}"
        if answer.say and kind not in self._said:
            self._said.add(kind)
            self._say(f"{self.destination.signal}: {self.problem}.")

    def _fault(self, error: Exception) -> float:
        """A fault of ours: wait; when it comes again and again the request that causes it goes, not all behind it."""
        self.problem = f"internal fault, {type(error).__name__}: {error}"
        self._faults += 1
        row = self._queue.peek(self.key)
        if self._faults >= MAX_FAULTS and row is not None:
            self._faults = 0
            self._tally.drop(self._record, "encode_error", row.records, self.key[0])
            self._queue.delete(row)
        self.pacing.failure()
        return self.pacing.wait()

    def _run(self) -> None:
        while not self._stopping:
            version = self._queue.version
            try:
                pause = self.step()
            except Exception as error:  # noqa: BLE001  the thread must live on; the fault shows in /health
                pause = self._fault(error)
            if pause is None or pause > 0:
                self._queue.wait(version, pause)
        self._transport.close()
