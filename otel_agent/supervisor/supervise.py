"""Run the app under the agent and be transparent: signals, terminal and exit status as without us."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from otel_agent import rundir, settings
from otel_agent.diagnostics import say

from . import launch, signals
from .hub import Hub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

BACKLOG = 4096
HUB_START = 3.0  # seconds more for a hub that was still starting when the app ended
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def run(command: list[str], environ: Mapping[str, str], configured: settings.Settings) -> NoReturn:
    """Run `command` and end as it ended. Raises launch.CannotStart when it cannot be executed."""
    folder = rundir.create(environ)
    listen = _listen(folder) if folder is not None else None
    if folder is None or listen is None:
        say("no runtime directory can be written (XDG_RUNTIME_DIR, the system temporary directory); telemetry is off")
        _replace(command, environ)
    Supervisor(command, environ, configured, folder, listen).run()


def replace(command: list[str], environ: Mapping[str, str]) -> NoReturn:
    """Become the command: nothing of ours stays. Raises launch.CannotStart."""
    _replace(command, environ)


def _replace(command: list[str], environ: Mapping[str, str]) -> NoReturn:
    # Python's start-up ignored these; execution keeps what is ignored.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, dict(environ))
    except OSError as error:
        raise launch.CannotStart(command[0], error) from None


def _listen(folder: str) -> socket.socket | None:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    try:
        made.bind(os.path.join(folder, rundir.SOCKET))
        made.listen(BACKLOG)
        return made
    except OSError:
        made.close()
        return None
    finally:
        os.umask(umask)


def service_name(command: list[str], configured: settings.Settings) -> str:
    """OTEL_SERVICE_NAME, `service.name` of the resource attributes, or the script's, module's or program's name."""
    given = configured.text("OTEL_SERVICE_NAME")
    given = given or configured.mapping("OTEL_RESOURCE_ATTRIBUTES").get("service.name", "")
    if given:
        return given
    words = [os.path.basename(command[0]), *command[1:]]
    if words[0].startswith("python"):
        if "-m" in words[:-1]:
            return words[words.index("-m") + 1]
        scripts = [word for word in words[1:] if not word.startswith("-")]
        if scripts and "-c" not in words:
            return os.path.basename(scripts[0]).removesuffix(".py")
    for word in words[1:]:
        module, separator, attribute = word.partition(":")  # gunicorn shop.wsgi:app
        if separator and attribute.isidentifier() and module.replace(".", "_").isidentifier():
            return module.partition(".")[0]
    return words[0].removesuffix(".py")


class Supervisor:
    """One run."""

    def __init__(
        self,
        command: list[str],
        environ: Mapping[str, str],
        configured: settings.Settings,
        folder: str,
        listen: socket.socket,
    ) -> None:
        self.command = command
        self.environ = environ
        self.settings = configured
        self.folder = folder
        self.listen = listen
        self.service = service_name(command, configured)
        self.hub = Hub(listen, folder, {**environ, "OTEL_SERVICE_NAME": self.service})
        self.app = 0
        self.started = time.time_ns()
        self.announced = False

    def run(self) -> NoReturn:
        """Start app and hub, supervise, drain, and end as the app did."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals.BLOCKED)
        path = os.path.join(self.folder, rundir.SOCKET)
        instance = os.path.basename(self.folder)
        try:
            self.app = launch.start_app(self.command, launch.app_environ(self.environ, path, instance), set(mask))
        except launch.CannotStart:
            self.listen.close()
            rundir.remove(self.folder)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            raise
        self.hub.start()
        self.hub.announce({"pid": self.app, "command": self.command, "started": self.started})
        self._write_status()
        status, rss = self._supervise()
        self._drain(status, rss)
        self._end(status)

    def _supervise(self) -> tuple[int, int]:
        """Until the app has ended: (its wait status, its largest resident size in bytes)."""
        while True:
            wait = self.hub.tend()
            info = signal.sigtimedwait(signals.BLOCKED, max(wait, 0.01))
            if info is not None and info.si_signo == signal.SIGCONT:
                self._signal(signal.SIGCONT)
            elif info is not None and signals.should_forward(info, self.app):
                self._signal(info.si_signo)
            self._listen_to_hub()
            ended = self._reap()
            if ended is not None:
                return ended

    def _signal(self, number: int) -> None:
        try:
            os.kill(self.app, number)
        except ProcessLookupError:
            pass

    def _listen_to_hub(self) -> None:
        self.hub.listen()
        if self.hub.ready is not None and not self.announced:
            self.announced = True
            self._write_status()
            url = self.hub.ready.get("url")
            if url and sys.stderr is not None and sys.stderr.isatty() and not self.settings.flag("OTEL_AGENT_QUIET"):
                say(f"observing {self.service}, metrics at {url}/metrics")

    def _reap(self) -> tuple[int, int] | None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if os.WIFSTOPPED(status):
                if pid == self.app:
                    os.kill(os.getpid(), signal.SIGSTOP)  # job control: the shell must see us stop
                continue
            if pid == self.hub.pid:
                self.hub.ended()
                self.announced = False
            elif pid == self.app:
                return status, usage.ru_maxrss * 1024

    def _drain(self, status: int, rss: int) -> None:
        """Let the hub deliver the rest, for at most OTEL_AGENT_SHUTDOWN_TIMEOUT."""
        if self.hub.has_nothing():
            self.hub.kill()
        timeout = self.settings.seconds("OTEL_AGENT_SHUTDOWN_TIMEOUT")
        until = time.monotonic() + timeout + (0.0 if self.hub.ready else HUB_START)
        self.hub.tell({"exit": self._exit_message(status, rss, timeout)})
        while self.hub.pid and not self.hub.lingering:
            left = until - time.monotonic()
            if left <= 0:
                self.hub.kill()
                left = 1.0
            info = signal.sigtimedwait(signals.BLOCKED, left)
            if info is not None and info.si_signo in STOPPING and info.si_pid != self.app:
                self.hub.kill()
            self.hub.listen()
            if self._hub_is_gone():
                self.hub.pid = 0

    def _hub_is_gone(self) -> bool:
        try:
            return os.waitpid(self.hub.pid, os.WNOHANG)[0] == self.hub.pid
        except ChildProcessError:
            return True

    def _exit_message(self, status: int, rss: int, timeout: float) -> dict[str, Any]:
        killed = os.WIFSIGNALED(status)
        return {
            "pid": self.app,
            "code": None if killed else os.WEXITSTATUS(status),
            "signal": os.WTERMSIG(status) if killed else None,
            "core": os.WCOREDUMP(status),
            "max_rss": rss,
            "started": self.started,
            "ended": time.time_ns(),
            "deadline": max(timeout - 0.2, 0.0),
        }

    def _write_status(self) -> None:
        ready = self.hub.ready or {}
        rundir.write_status(
            self.folder,
            {
                "service": self.service,
                "url": ready.get("url"),
                "command": self.command,
                "pid": os.getpid(),
                "start_time": rundir.start_time(os.getpid()),
                "app_pid": self.app,
                "hub_pid": self.hub.pid,
                "started": self.started / 1e9,
            },
        )

    def _end(self, status: int) -> NoReturn:
        if not self.hub.lingering:
            rundir.remove(self.folder)
        if os.WIFSIGNALED(status):
            signals.die_as(os.WTERMSIG(status))
        os._exit(os.WEXITSTATUS(status))
