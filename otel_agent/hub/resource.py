"""The resource: who the telemetry is about. Names are OpenTelemetry's (semantic conventions, `resource`)."""

from __future__ import annotations

import socket
import uuid
from typing import Any

from otel_agent import __version__
from otel_agent.settings import Settings


def hub_resource(configured: Settings, folder: str) -> dict[str, Any]:
    """Attributes of the service as a whole; `folder`, new in every run, gives `service.instance.id`."""
    return {
        "service.name": "unknown_service",
        "host.name": socket.gethostname(),
        "service.instance.id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"otel-agent:{folder}")),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.distro.name": "otel-agent",
        "telemetry.distro.version": __version__,
        **_named(configured),
        **configured.mapping("OTEL_RESOURCE_ATTRIBUTES"),
        **_text(configured, "service.name", "OTEL_SERVICE_NAME"),
    }


def _named(configured: Settings) -> dict[str, Any]:
    return {
        **_text(configured, "service.version", "APP_VERSION"),
        **_text(configured, "deployment.environment.name", "SENTRY_ENVIRONMENT"),
    }


def _text(configured: Settings, attribute: str, setting: str) -> dict[str, Any]:
    value = configured.text(setting)
    return {attribute: value} if value else {}


def worker_resource(hub: dict[str, Any], worker: dict[str, Any]) -> dict[str, Any]:
    """The hub's resource with what one worker said about its process; what the user configured wins."""
    return {**worker, **hub}
