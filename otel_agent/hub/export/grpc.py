"""OTLP over gRPC, with the extra `[grpc]`: the same request bytes through a generic unary call."""

from __future__ import annotations

from typing import Any

import grpc  # type: ignore[import-untyped]

from otel_agent import __version__
from otel_agent.hub.export import answer, tls
from otel_agent.hub.export.answer import Answer
from otel_agent.hub.export.destination import Destination
from otel_agent.hub.export.signals import SIGNALS

MAX_ANSWER = 64 << 10
_COMPRESSION = {
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
    "none": grpc.Compression.NoCompression,
}


class Grpc:
    """Transport to one host:port. A channel that failed is replaced: its own reconnecting would take up to two minutes
    in which every call fails at once, and back-off is the sender's."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._metadata = tuple(destination.headers.items())
        self._channel: Any = None
        self._call: Any = None
        self._files: tls.Fingerprint = ()

    def send(self, body: bytes, timeout: float) -> Answer:
        """One call."""
        signal = self._destination.signal
        try:
            self._connect()
            reply = self._call(body, timeout=timeout, metadata=self._metadata)
        except OSError as error:
            return answer.failed(str(error))
        except grpc.RpcError as error:
            self.close()
            trailers = dict(error.trailing_metadata() or ())
            details = trailers.get("grpc-status-details-bin", b"")
            return answer.grpc(signal, error.code().name, error.details() or "", details)
        response = SIGNALS[signal].response()
        try:
            response.ParseFromString(reply)
        except Exception:  # noqa: BLE001  protobuf's errors have no common base; the call itself succeeded
            return Answer(answer.Action.DELIVERED)
        return answer.delivered(signal, response)

    def close(self) -> None:
        """Give up the channel."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _connect(self) -> None:
        """Have a channel, a new one when a TLS file changed. Raises OSError when a file cannot be read."""
        files = tls.fingerprint(self._destination) if self._destination.tls else ()
        if self._channel is not None and files == self._files:
            return
        self.close()
        options = (
            ("grpc.primary_user_agent", f"otel-agent/{__version__}"),
            ("grpc.max_receive_message_length", MAX_ANSWER),
            # Channels share connections by their options; one that failed must not come back.
            ("grpc.use_local_subchannel_pool", 1),
        )
        compression = _COMPRESSION[self._destination.compression]
        endpoint = self._destination.endpoint
        if self._destination.tls:
            self._channel = grpc.secure_channel(endpoint, self._credentials(), options, compression)
        else:
            self._channel = grpc.insecure_channel(endpoint, options, compression)
        self._call = self._channel.unary_unary(SIGNALS[self._destination.signal].method)
        self._files = files

    def _credentials(self) -> Any:
        destination = self._destination
        return grpc.ssl_channel_credentials(
            _read(destination.certificate), _read(destination.client_key), _read(destination.client_certificate)
        )


def _read(path: str) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()
