"""OTLP/JSON: protobuf's JSON with ids in hex and enums as numbers (opentelemetry-proto, "JSON Protobuf Encoding")."""

from __future__ import annotations

import base64
import json
from typing import Any, TypeVar

from google.protobuf import json_format  # type: ignore[import-untyped]

M = TypeVar("M")
_IDS = frozenset({"traceId", "spanId", "parentSpanId"})


def dump(message: Any) -> bytes:
    """A request as one line of OTLP/JSON."""
    tree = json_format.MessageToDict(message, use_integers_for_enums=True)
    return json.dumps(_convert(tree, _hex), separators=(",", ":"), ensure_ascii=False).encode()


def load(data: bytes, message: M) -> M:
    """Fill `message` from OTLP/JSON; unknown fields are skipped. Raises ValueError when it is not that."""
    try:
        json_format.ParseDict(_convert(json.loads(data), _base64), message, ignore_unknown_fields=True)
    except (json_format.ParseError, TypeError, RecursionError) as error:
        raise ValueError(f"not OTLP/JSON: {error}") from error
    return message


def _convert(node: Any, ids: Any) -> Any:
    if isinstance(node, list):
        return [_convert(item, ids) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: ids(item) if key in _IDS and isinstance(item, str) else _convert(item, ids) for key, item in node.items()
    }


def _hex(text: str) -> str:
    return base64.b64decode(text).hex()


def _base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()
