"""The worker's parts put together: one runtime per process, made when the first hooked module is imported."""

from __future__ import annotations

import atexit
import os
import sys
import time
from types import ModuleType

from otel_agent import __version__, settings, wire
from otel_instrumentors import guard

from . import forks
from .channel import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .metering import MeterProvider


class Runtime:
    """Channel and providers of this process."""

    def __init__(self, path: str, configured: settings.Settings) -> None:
        self.settings = configured
        self.channel = Channel(path, hello)
        self.meter_provider: MeterProvider | None = None
        guard.report = self._report
        forks.register(self)
        atexit.register(self.close)

    def install(self, module: ModuleType) -> None:
        """Make our provider the global one of the signal whose API module was just imported."""
        from . import providers

        if module.__name__ == "opentelemetry.trace":
            providers.install_tracer_provider(module, self.settings, self.channel)
        elif module.__name__ == "opentelemetry.metrics":
            self.meter_provider = providers.install_meter_provider(module, self.settings, self.channel)
        else:
            providers.install_logger_provider(module, self.settings, self.channel)

    def close(self) -> None:
        """At interpreter exit: last observations, what is unsent, and a goodbye. Takes at most 50 ms."""
        if self.meter_provider is not None:
            self.meter_provider.close()
        self.channel.close()

    def before_fork(self) -> None:
        """No thread of ours may live in a process that forks."""
        if self.meter_provider is not None:
            self.meter_provider.stop()
        self.channel.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.channel.after_fork_in_parent()
        if self.meter_provider is not None:
            self.meter_provider.resume()

    def after_fork_in_child(self) -> None:
        """A new process: new identity, nothing inherited is sent again, nothing is opened before the first record."""
        self.channel.after_fork_in_child()
        if self.meter_provider is not None:
            self.meter_provider.after_fork_in_child()
        tracing = sys.modules.get(f"{__package__}.tracing")
        if tracing is not None:
            tracing.reseed()

    def _report(self, site: str, error: BaseException) -> None:
        text = f"{site} failed and costs telemetry only: {type(error).__name__}: {error}"
        self.channel.send(wire.Diagnostic(text[:500]))


def hello(worker_id: bytes) -> wire.Hello:
    """Who this process is."""
    version = ".".join(map(str, sys.version_info[:3]))
    return wire.Hello(
        worker_id=worker_id,
        pid=os.getpid(),
        parent_pid=os.getppid(),
        agent_version=__version__,
        python=version,
        command=os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else "",
        started=time.time_ns(),
        resource={
            "process.pid": os.getpid(),
            "process.runtime.name": sys.implementation.name,
            "process.runtime.version": version,
            "process.executable.name": os.path.basename(sys.executable or ""),
        },
    )


_current: Runtime | None = None


def current() -> Runtime | None:
    """The runtime of this process, made at the first call; None when the process is not under an agent."""
    global _current
    if _current is None:
        path = os.environ.get("OTEL_AGENT_SOCKET")
        if path:
            _current = Runtime(path, settings.load(os.environ))
    return _current
