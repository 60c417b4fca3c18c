"""The hub's life: start, listen, and end as RELIABILITY 0.3 says."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from otel_agent import rundir, settings, wire

from .confine import confine
from .control import Control

if TYPE_CHECKING:
    from .export.exports import Exports
    from .pipeline.worker import Worker

SETTLE = 0.25  # seconds a connection may stay open after the app's end before the hub says that it lingers
DAEMON = 60.0  # seconds a daemonised process of the app may take to connect
TICK = 0.05
STEP = 0.5
DEADLINE = 2.0  # seconds for the exporters when no supervisor gives a deadline


def run(listen_fd: int, control_fd: int, run_dir: str) -> NoReturn:
    """Be the hub of one run, until it is over.

    `listen_fd`: a listening unix socket; `control_fd`: the channel to the supervisor; settings come by environment.
    """
    confine(run_dir)
    control = Control(control_fd)
    hub = Hub(settings.load(os.environ), listen_fd, control, run_dir)
    asyncio.run(hub.live())
    os._exit(0)  # whatever threads are left have nothing to say any more


class Hub:
    """One run's hub. Making it loads the SDK; `live` does the rest."""

    def __init__(self, configured: settings.Settings, listen_fd: int, control: Control, run_dir: str) -> None:
        from .web import address

        self._settings = configured
        self._control = control
        self._run_dir = run_dir
        self._http = address.listen(
            configured.text("OTEL_EXPORTER_PROMETHEUS_HOST"),
            configured.integer("OTEL_EXPORTER_PROMETHEUS_PORT"),
            configured.integer("OTEL_AGENT_PORT_TRIES"),
            control.say,
        )
        self._exports = _exports(control)
        self._build(listen_fd)
        self._over: asyncio.Future[dict[str, Any] | None] | None = None
        self._orphan = False

    def _build(self, listen_fd: int) -> None:
        from .intake import Intake
        from .pipeline.genai import Names
        from .pipeline.logs import Logs
        from .pipeline.traces import Traces
        from .pipeline.worker import Pipeline
        from .processes import Processes
        from .resource import hub_resource
        from .web.health import Health

        names = Names(self._settings.text("OTEL_AGENT_GENAI_SEMCONV"))
        self._resource = hub_resource(self._settings, self._run_dir)
        self._processes = Processes()
        self._metrics, self._exposition = self._make_metrics(names)
        traces, logs = Traces(self._exports, names), Logs(self._exports)
        self._pipeline = Pipeline(traces, self._metrics, logs, self._control.say)
        self._intake = Intake(listen_fd, self._welcome)
        self._health = Health(
            self._resource,
            self._processes,
            lambda: self._pipeline.connected,
            lambda: self._metrics is not None and self._metrics.has("http.server.request.duration"),
            lambda: self._exports.health() if self._exports else [],
        )
        self._instrument()

    def _make_metrics(self, names: Any) -> tuple[Any, Any]:
        if not self._settings.flag("ENABLE_METRICS"):
            return None, None
        from .pipeline.metrics import Metrics
        from .pipeline.prometheus import Exposition, Reader

        reader = Reader()
        readers = [reader, *(self._exports.metric_readers() if self._exports else [])]
        return Metrics(self._resource, readers, names), Exposition(reader, self._resource)

    def _instrument(self) -> None:
        if self._metrics is None:
            return
        from . import selfmetrics

        meter = self._metrics.meter("otel_agent")
        self._processes.instrument(meter)
        exports = self._exports
        selfmetrics.instrument(meter, self._intake, self._pipeline, exports.counts if exports else dict)

    def _welcome(self, hello: wire.Hello) -> Worker:
        from .pipeline.worker import Worker
        from .resource import worker_resource

        return Worker(self._pipeline, hello, worker_resource(self._resource, hello.resource))

    async def live(self) -> None:
        """From the first accepted worker to the last delivered record."""
        from .web import address

        self._over = asyncio.get_running_loop().create_future()
        url = address.url(self._http) if self._http is not None else None
        self._control.tell({"ready": {"url": url, "pid": os.getpid()}})  # before the first worker is accepted
        self._control.start(self._hear, self._lost)
        self._intake.start()
        server = asyncio.create_task(self._serve())
        message = await self._over
        await self._finish(message)
        server.cancel()

    async def _serve(self) -> None:
        """Load and run the HTTP server; visitors wait in the kernel until it is there."""
        if self._http is None:
            return
        access, app, server = await asyncio.to_thread(_load_web)
        from .web import address

        everywhere = not address.is_loopback(self._http)
        policy = access.Policy(self._settings.items("OTEL_AGENT_ALLOWED_HOSTS"), self._token(everywhere), everywhere)
        state = app.Hub(self._resource["service.name"], self._exposition, self._health)
        await server.serve(app.application(state, policy), self._http)

    def _token(self, everywhere: bool) -> str:
        """The run's token, new in each run, readable by its user only (S2)."""
        token = secrets.token_hex(32)
        path = os.path.join(self._run_dir, "token")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(token)
        except OSError:
            return secrets.token_hex(32)  # nobody can know it: closed (S23)
        if everywhere:
            self._control.say(f"metrics are on a public address: /metrics needs the bearer token in {path}")
        return token

    def _hear(self, message: dict[str, Any]) -> None:
        app, ended = message.get("app"), message.get("exit")
        if isinstance(app, dict):
            started = float(app.get("started", 0)) / 1e9
            self._processes.watch(int(app["pid"]), started)
            self._health.began(started)
        if isinstance(ended, dict):
            self._end(ended)

    def _lost(self) -> None:
        self._orphan = True
        self._end(None)

    def _end(self, message: dict[str, Any] | None) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(message)

    async def _finish(self, message: dict[str, Any] | None) -> None:
        """Take what has arrived, linger while the app's processes talk, deliver, and leave nothing behind."""
        self._intake.drain()
        if message is not None:
            self._pipeline.ended(message.get("code"))
        lingered = await self._linger()
        deadline = DEADLINE if lingered or message is None else float(message.get("deadline", DEADLINE))
        await asyncio.to_thread(self._deliver, deadline)
        if lingered or message is None:
            rundir.remove(self._run_dir)

    async def _linger(self) -> bool:
        """Whether there was someone to stay for: a connected process, or one of the run that has yet to connect."""
        for _ in range(int(SETTLE / TICK)):
            if not self._has_company():
                return False
            await asyncio.sleep(TICK)
        self._control.tell({"lingering": True})
        left = DAEMON
        while left > 0 and self._has_company():
            await asyncio.sleep(STEP)
            left = DAEMON if self._intake.connections else left - STEP
        self._intake.drain()
        return True

    def _has_company(self) -> bool:
        from .processes import belongs

        return bool(self._intake.connections) or belongs(os.path.basename(self._run_dir))

    def _deliver(self, deadline: float) -> None:
        if self._exports is None:
            return
        if self._metrics is not None:
            self._metrics.provider.shutdown()
        self._exports.drain(deadline)


def _exports(control: Control) -> Exports | None:
    """The exporters, loaded only when the settings name a destination."""
    from .export.destination import destinations

    try:
        if not destinations(os.environ):
            return None
        from .export.exports import Exports

        return Exports(os.environ, console=sys.stderr, say=control.say)
    except (settings.SettingError, ImportError) as error:
        control.say(f"export is off: {error}")
        return None


def _load_web() -> tuple[Any, Any, Any]:
    from .web import access, app, server

    return access, app, server
