"""LoggerProvider and Logger over the channel: the OpenTelemetry Logs API."""

from __future__ import annotations

from time import time_ns
from typing import Any

from opentelemetry import _logs, trace
from opentelemetry import context as context_api

from otel_agent import settings, wire

from . import values
from .channel import Channel

BODY = 32768  # characters of a log body


class Logger(_logs.Logger):
    """Emits log records of one instrumentation scope."""

    def __init__(self, provider: LoggerProvider, scope: tuple[str, str, str, dict[str, Any]]) -> None:
        super().__init__(scope[0], scope[1], scope[2])
        self._provider = provider
        self._scope = scope

    def emit(
        self,
        record: _logs.LogRecord | None = None,
        *,
        timestamp: int | None = None,
        observed_timestamp: int | None = None,
        context: context_api.Context | None = None,
        severity_number: _logs.SeverityNumber | None = None,
        severity_text: str | None = None,
        body: Any = None,
        attributes: Any = None,
        event_name: str | None = None,
        exception: BaseException | None = None,
    ) -> None:
        """Emit `record`, or one made of the keyword arguments. Times are ns since the epoch."""
        if record is not None:
            timestamp, observed_timestamp = record.timestamp, record.observed_timestamp
            severity_number, severity_text = record.severity_number, record.severity_text
            body, attributes = record.body, record.attributes
            context = getattr(record, "context", None)
            event_name = getattr(record, "event_name", None)
            exception = getattr(record, "exception", None)
        limits = self._provider
        clean, _ = values.attributes(attributes, limits.count, limits.length)
        if exception is not None:
            kind = type(exception)
            clean.setdefault("exception.type", f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))
            clean.setdefault("exception.message", values.text(exception, limits.length))
        trace_id, span_id, flags = self._ids(record, context)
        self._provider.channel.send(
            wire.Log(
                timestamp or 0,
                observed_timestamp or time_ns(),
                severity_number.value if severity_number is not None else 0,
                str(severity_text or ""),
                values.one(body, BODY),
                clean,
                trace_id,
                span_id,
                flags,
                str(event_name or ""),
                self._scope,
            )
        )

    def _ids(self, record: _logs.LogRecord | None, context: context_api.Context | None) -> tuple[bytes, bytes, int]:
        if record is not None and getattr(record, "trace_id", None):
            given: Any = record
            return (
                given.trace_id.to_bytes(16, "big"),
                (given.span_id or 0).to_bytes(8, "big"),
                int(given.trace_flags or 0),
            )
        current = trace.get_current_span(context).get_span_context()
        if not current.is_valid:
            return b"", b"", 0
        return current.trace_id.to_bytes(16, "big"), current.span_id.to_bytes(8, "big"), int(current.trace_flags)

    def enabled(self, **_: Any) -> bool:
        """Every record is taken."""
        return True


class LoggerProvider(_logs.LoggerProvider):
    """The global LoggerProvider of a process under the agent."""

    def __init__(self, configured: settings.Settings, channel: Channel) -> None:
        self.channel = channel
        self.count = configured.integer("OTEL_ATTRIBUTE_COUNT_LIMIT")
        self.length = configured.integer("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")

    def get_logger(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> _logs.Logger:
        """The logger of an instrumentation scope."""
        clean, _ = values.attributes(attributes, self.count, self.length)
        return Logger(self, (str(name or ""), str(version or ""), schema_url or "", clean))

    def add_log_record_processor(self, log_record_processor: Any) -> None:
        """Accepted for libraries that call it; records go to the hub, whose exporters are configured by OTEL_*."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Hand over what waits."""
        self.channel.flush()
        return True

    def shutdown(self) -> None:
        """As force_flush; our path stays open until the process ends."""
        self.channel.flush()
