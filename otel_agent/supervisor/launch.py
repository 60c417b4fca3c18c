"""Start the app exactly as the shell would have, plus injection; start the hub apart from everything of the app's."""

from __future__ import annotations

import errno
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PR_SET_PDEATHSIG = 1
PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INJECT = os.path.join(PACKAGE_PARENT, "otel_agent", "inject")
BOOTSTRAP = """
import os, sys
listen, control = int(sys.argv[1]), int(sys.argv[2])
for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else range(3, 256):
    if int(name) > 2 and int(name) not in (listen, control):
        try:
            os.close(int(name))
        except OSError:
            pass
sys.path[:0] = sys.argv[4:]
from otel_agent.hub.main import run
run(listen, control, sys.argv[3])
"""


class CannotStart(Exception):
    """The command cannot be executed; `status` is the exit status a shell gives for it (127 or 126)."""

    def __init__(self, command: str, error: OSError) -> None:
        if error.errno == errno.ENOENT:
            self.status, reason = 127, "command not found"
        else:
            self.status, reason = 126, os.strerror(error.errno or errno.EACCES).lower()
        super().__init__(f"{command}: {reason}")


def app_environ(environ: Mapping[str, str], socket_path: str, instance: str) -> dict[str, str]:
    """The app's environment: as given, plus our folder in front of PYTHONPATH and the socket's path."""
    changed = dict(environ)
    rest = environ.get("PYTHONPATH")
    changed["PYTHONPATH"] = INJECT + os.pathsep + rest if rest else INJECT
    changed["OTEL_AGENT_SOCKET"] = socket_path
    changed["OTEL_AGENT_INSTANCE"] = instance
    return changed


def start_app(command: list[str], environ: Mapping[str, str], mask: set[int]) -> int:
    """Fork and execute; returns the pid once the new image runs. Raises CannotStart.

    `mask` is the signal mask to restore. The child dies with the supervisor (PR_SET_PDEATHSIG).
    """
    supervisor = os.getpid()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become(command, environ, mask, supervisor)
        except OSError as error:
            os.write(write, str(error.errno or errno.EACCES).encode())
        finally:
            os._exit(127)
    os.close(write)
    with open(read, "rb") as file:
        failed = file.read()
    if failed:
        os.waitpid(pid, 0)
        raise CannotStart(command[0], OSError(int(failed), ""))
    return pid


def _become(command: list[str], environ: Mapping[str, str], mask: set[int], supervisor: int) -> None:
    _die_with(supervisor)
    # Python ignores these two at its own start; the app must find the default.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.execvpe(command[0], command, environ)


def _die_with(supervisor: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return  # without ctypes the app outlives a supervisor killed by SIGKILL
    if os.getppid() != supervisor:
        os.kill(os.getpid(), signal.SIGKILL)


def start_hub(listen: int, control: int, folder: str, environ: Mapping[str, str]) -> int:
    """Start the hub in an isolated interpreter and a session of its own; returns its pid. Raises OSError.

    Its stdin and stdout are /dev/null, its stderr is `hub.log` in `folder`: it must hold nothing of the app's, or
    `$(otel-agent ...)` and pipes would never see their end.
    """
    clean = {
        name: value
        for name, value in environ.items()
        if not name.startswith("PYTHON") and name not in ("LD_PRELOAD", "OTEL_AGENT_SOCKET", "OTEL_AGENT_INSTANCE")
    }
    os.set_inheritable(listen, True)
    os.set_inheritable(control, True)
    # Isolated mode leaves out user site-packages and PYTHONPATH: the hub finds what this interpreter finds.
    path = [PACKAGE_PARENT, *(entry for entry in sys.path if entry and entry != PACKAGE_PARENT)]
    arguments = [sys.executable, "-I", "-X", "utf8", "-c", BOOTSTRAP, str(listen), str(control), folder, *path]
    log = os.path.join(folder, "hub.log")
    try:
        return os.posix_spawn(
            sys.executable,
            arguments,
            clean,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )
    finally:
        os.set_inheritable(listen, False)
        os.set_inheritable(control, False)
