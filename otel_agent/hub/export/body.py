"""From a request message to the bytes that are sent, and back for the one case that needs it: halving."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

from otel_agent.hub.export import json
from otel_agent.hub.export.destination import Destination
from otel_agent.hub.export.signals import SIGNALS, count, halves

MAX_BYTES = 2 << 20
"""Bytes of one request before compression; collectors take 4 MiB (gRPC) and 20 MiB (HTTP)."""
_LEVEL = 5  # on span batches as small as level 9, at 40 % of its time

Form = tuple[str, str]
"""(protocol, compression): destinations that share it share their bytes."""


def form(destination: Destination) -> Form:
    """How a destination wants its bytes. gRPC compresses by itself."""
    return destination.protocol, "none" if destination.protocol == "grpc" else destination.compression


def pack(message: Any, wanted: Form) -> bytes:
    """The bytes of a request; the same message gives the same bytes."""
    protocol, compression = wanted
    data = json.dump(message) if protocol in ("http/json", "console") else message.SerializeToString()
    if compression == "gzip":
        return gzip.compress(data, _LEVEL, mtime=0)
    return zlib.compress(data, _LEVEL) if compression == "deflate" else bytes(data)


def unpack(signal: str, data: bytes, wanted: Form) -> Any:
    """The request message behind bytes that `pack` made."""
    protocol, compression = wanted
    if compression != "none":
        data = gzip.decompress(data) if compression == "gzip" else zlib.decompress(data)
    message = SIGNALS[signal].request()
    if protocol in ("http/json", "console"):
        return json.load(data, message)
    message.ParseFromString(data)
    return message


def halved(signal: str, data: bytes, wanted: Form) -> list[tuple[bytes, int]]:
    """Two bodies with their numbers of records; empty when there is only one record."""
    parts = halves(signal, unpack(signal, data, wanted)) or ()
    return [(pack(part, wanted), count(signal, part)) for part in parts]


def cut(signal: str, message: Any) -> list[Any]:
    """The message in parts of at most MAX_BYTES, in order; a single larger record is left as it is."""
    if message.ByteSize() <= MAX_BYTES:
        return [message]
    parts = halves(signal, message)
    return [piece for part in parts for piece in cut(signal, part)] if parts else [message]
