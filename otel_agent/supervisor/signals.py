"""Which signals the supervisor passes on to the app, so that each arrives exactly once."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class SignalInfo(Protocol):
        """What `sigtimedwait` says of a signal."""

        @property
        def si_signo(self) -> int: ...
        @property
        def si_code(self) -> int: ...
        @property
        def si_pid(self) -> int: ...


SI_KERNEL = 0x80
# Faults of our own process, and the two that cannot be blocked.
UNBLOCKED = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGILL,
    signal.SIGFPE,
    signal.SIGTRAP,
    signal.SIGSYS,
}
OURS = {signal.SIGCHLD, signal.SIGIO}
BLOCKED = {number for number in signal.valid_signals() if number not in UNBLOCKED}


def should_forward(info: SignalInfo, app: int) -> bool:
    """Whether a signal we received is to be sent on to `app`.

    What the kernel sent for the terminal went to the whole foreground group, the app included; what the app itself
    sent us is for us. Hang-up and continue go to the session leader alone, so a leader passes them on.
    """
    if info.si_signo in OURS:
        return False
    if info.si_code == SI_KERNEL and _same_group(app):
        leader = os.getsid(0) == os.getpid()
        return leader and info.si_signo in (signal.SIGHUP, signal.SIGCONT)
    return info.si_pid != app


def _same_group(app: int) -> bool:
    try:
        return os.getpgid(app) == os.getpgrp()
    except ProcessLookupError:
        return False


def die_as(number: int) -> None:
    """End this process by signal `number`, without a second core file. As PID 1, where that has no effect: 128+n."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    except (ImportError, OSError, AttributeError):
        pass
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)
