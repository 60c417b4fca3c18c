"""Make our providers the global ones, and give way when the app sets its own."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from otel_agent import settings, wire

from .channel import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .metering import MeterProvider

COST = (
    "the app set its own {signal} provider and keeps it: its {what} go where the app sends them and are not on "
    "/metrics or in the hub"
)


def install_tracer_provider(module: ModuleType, configured: settings.Settings, channel: Channel) -> None:
    """Set our TracerProvider in `opentelemetry.trace`."""
    from .tracing import TracerProvider

    provider = TracerProvider(configured, channel)
    module.set_tracer_provider(provider)
    _give_way(module, "tracer", "spans", provider, channel)


def install_meter_provider(module: ModuleType, configured: settings.Settings, channel: Channel) -> MeterProvider:
    """Set our MeterProvider in `opentelemetry.metrics`; returns it."""
    from .metering import MeterProvider

    provider = MeterProvider(configured, channel)
    module.set_meter_provider(provider)
    _give_way(module, "meter", "metrics", provider, channel)
    return provider


def install_logger_provider(module: ModuleType, configured: settings.Settings, channel: Channel) -> None:
    """Set our LoggerProvider in `opentelemetry._logs`."""
    from .logging import LoggerProvider

    module.set_logger_provider(LoggerProvider(configured, channel))


def _give_way(module: ModuleType, signal: str, what: str, ours: Any, channel: Channel) -> None:
    """The API lets a provider be set once; the app's first own one replaces ours as if ours had not been there."""
    name = f"set_{signal}_provider"
    original = getattr(module, name)
    home = module if hasattr(module, f"_{signal.upper()}_PROVIDER") else getattr(module, "_internal", module)
    variable = f"_{signal.upper()}_PROVIDER"

    def set_provider(provider: Any) -> None:
        in_force = getattr(home, variable, None) is ours
        if in_force and provider is not ours:
            setattr(home, variable, provider)
            ours.step_aside(provider)
            channel.send(wire.Diagnostic(COST.format(signal=signal, what=what)))
        else:
            original(provider)

    set_provider.__name__ = set_provider.__qualname__ = name
    set_provider.__doc__ = original.__doc__
    set_provider.__wrapped__ = original  # type: ignore[attr-defined]
    setattr(module, name, set_provider)
