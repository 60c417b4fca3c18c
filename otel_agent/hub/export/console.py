"""The `console` exporter: each request as one line of OTLP/JSON on a stream that the hub gives."""

from __future__ import annotations

from typing import TextIO

from otel_agent.hub.export.answer import Action, Answer, failed


class Console:
    """Transport to a text stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def send(self, body: bytes, timeout: float) -> Answer:
        """Print the body; a stream that cannot be written to is a failure."""
        try:
            self._stream.write(f"{body.decode()}\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            return failed(f"the stream cannot be written to: {error}")
        return Answer(Action.DELIVERED)

    def close(self) -> None:
        """Nothing to give up: the stream is the hub's."""
