"""What the hub does to its own process first: signals, priority, limits, and a log that cannot fill the disk."""

from __future__ import annotations

import logging
import logging.handlers
import os
import resource
import signal
import sys

LOG_BYTES = 1 << 20
NICENESS = 5
OOM_SCORE = 200  # the app must not be the victim of our memory
PR_SET_NO_NEW_PRIVS = 38
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def confine(folder: str) -> None:
    """Apply RELIABILITY 0.1 and S9, S10; what the system refuses is left out."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    try:
        os.nice(NICENESS)
    except OSError:
        pass
    if sys.platform.startswith("linux"):
        _confine_on_linux()
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[_Log(os.path.join(folder, "hub.log"))],
        force=True,
    )


def _limit(which: int, soft: int) -> None:
    try:
        resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))
    except (OSError, ValueError):
        pass


def _confine_on_linux() -> None:
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(OOM_SCORE))
    except OSError:
        pass
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass


class _Log(logging.handlers.RotatingFileHandler):
    """`hub.log`, at most two files of 1 MiB; file descriptor 2, where the interpreter's own words go, follows."""

    def __init__(self, path: str) -> None:
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)

    def doRollover(self) -> None:
        """Start a new file."""
        super().doRollover()
        if self.stream is None:
            self.stream = self._open()
        os.dup2(self.stream.fileno(), 2)
