"""What a collector's answer means: RELIABILITY section 7, the answer table, as pure functions."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from otel_agent.hub.export import json
from otel_agent.hub.export.signals import SIGNALS

MAX_WAIT = 3600.0

_GRPC_RETRY = ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")


class Action(enum.Enum):
    """What happens to the request."""

    DELIVERED = "delivered"
    RETRY = "retry"
    SPLIT = "split"
    DROP = "drop"
    REFUSED = "refused"
    """Credentials were refused: the request is dropped and the breaker opens."""


@dataclass(frozen=True)
class Answer:
    """reason: of the drop, in our counters. problem: one sentence for people; `say` when it is worth a line on stderr.
    wait: seconds the collector asked for. rejected: records of a delivered request the collector did not take."""

    action: Action
    reason: str = ""
    problem: str = ""
    say: bool = False
    wait: float | None = None
    rejected: int = 0


def failed(problem: str) -> Answer:
    """No answer: refused, reset, timeout, DNS, TLS."""
    return Answer(Action.RETRY, problem=problem)


def http(signal: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> Answer:
    """The meaning of an HTTP answer. `headers` has lower-case names; `body` may be cut at the read cap; `now` is the
    time of day in seconds since the epoch."""
    if 200 <= status < 300:
        return _success(signal, headers.get("content-type", "").lower(), body)
    if 300 <= status < 400:
        return Answer(Action.RETRY, problem=f"answered {status}, a redirect, which is not followed", say=True)
    problem = f"answered {status}{_excerpt(headers, body)}"
    reason = f"http_{status}"
    if status in (429, 502, 503, 504):
        wait = retry_after(headers.get("retry-after", ""), now) if status in (429, 503) else None
        return Answer(Action.RETRY, problem=problem, wait=wait)
    if status == 413:
        return Answer(Action.SPLIT, "too_large", problem)
    if status in (401, 403):
        text = f"answered {status}; check OTEL_EXPORTER_OTLP_HEADERS"
        return Answer(Action.REFUSED, reason, text, say=True)
    return Answer(Action.DROP, reason, problem)


def grpc(signal: str, code: str, details: str, status_details: bytes) -> Answer:
    """The meaning of a gRPC status other than OK. `code` is its name in capitals; `status_details` is the trailer
    grpc-status-details-bin, a google.rpc.Status."""
    problem = f"answered {code}: {details[:200]}" if details else f"answered {code}"
    reason = f"grpc_{code.lower()}"
    wait = _retry_info(status_details)
    if code in _GRPC_RETRY or (code == "RESOURCE_EXHAUSTED" and wait is not None):
        return Answer(Action.RETRY, problem=problem, wait=wait)
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in details.lower():
        return Answer(Action.SPLIT, "too_large", problem)
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return Answer(Action.REFUSED, reason, f"answered {code}; check OTEL_EXPORTER_OTLP_HEADERS", say=True)
    return Answer(Action.DROP, reason, problem)


def delivered(signal: str, response: Any) -> Answer:
    """A response message: delivered, less what its partial_success rejects."""
    partial = response.partial_success
    rejected = max(getattr(partial, SIGNALS[signal].rejected), 0)
    message = str(partial.error_message)[:300]
    if not rejected and not message:
        return Answer(Action.DELIVERED)
    text = f"rejected {rejected} records: {message}" if rejected else f"warns: {message}"
    return Answer(Action.DELIVERED, problem=text, say=True, rejected=rejected)


def retry_after(value: str, now: float) -> float | None:
    """Seconds a Retry-After header asks for, at most an hour; None when it is malformed, negative or in the past."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), MAX_WAIT)
    try:
        wait = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(wait, MAX_WAIT) if wait > 0 else None


def _success(signal: str, content_type: str, body: bytes) -> Answer:
    is_protobuf = content_type.startswith("application/x-protobuf")
    # A protobuf answer may begin with a line feed, its first field, and "<", a length of 60: no stripping there.
    if content_type.startswith("text/html") or (body if is_protobuf else body.lstrip()).startswith(b"<"):
        return Answer(Action.RETRY, problem="answered with a web page, so it is no OTLP endpoint", say=True)
    response = SIGNALS[signal].response()
    try:
        if content_type.startswith("application/json"):
            json.load(body or b"{}", response)
        elif is_protobuf:
            response.ParseFromString(body)
    except Exception:  # noqa: BLE001  protobuf's errors have no common base; an unreadable 2xx is still a 2xx
        return Answer(Action.DELIVERED)
    return delivered(signal, response)


def _retry_info(status_details: bytes) -> float | None:
    if not status_details:
        return None
    status, info = Status(), RetryInfo()
    try:
        status.ParseFromString(status_details)
        for detail in status.details:
            if detail.Unpack(info):
                return min(max(float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9), 0.0), MAX_WAIT)
    except Exception:  # noqa: BLE001  protobuf's errors have no common base; malformed details say nothing
        return None
    return None


def _excerpt(headers: Mapping[str, str], body: bytes) -> str:
    """The beginning of a text answer; nothing of a binary one or a web page."""
    kind = headers.get("content-type", "").lower()
    text = body[:200].decode("utf-8", "replace").strip()
    if not text or text.startswith("<") or not (kind.startswith("text/plain") or "json" in kind):
        return ""
    return f": {''.join(c if c.isprintable() else ' ' for c in text)}"
