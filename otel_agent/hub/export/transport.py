"""What a sender needs of a protocol."""

from __future__ import annotations

from typing import Protocol

from otel_agent.hub.export.answer import Answer


class Transport(Protocol):
    """One connection to one destination for one signal; used by one thread."""

    def send(self, body: bytes, timeout: float) -> Answer:
        """Send one request; answer within about `timeout` seconds, whatever the other side does. Network trouble is an
        answer, not an exception."""
        ...

    def close(self) -> None:
        """Give up the connection."""
        ...
