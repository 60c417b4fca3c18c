"""The runtime directory of a run: private, random; holds the socket, the hub's log and what `status` prints."""

from __future__ import annotations

import json
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

SOCKET = "hub.sock"
STATUS = "status.json"
MAX_SOCKET_PATH = 107  # sun_path of sockaddr_un without its NUL


def candidates(environ: Mapping[str, str]) -> Iterator[str]:
    """Folders that may hold our runtime directories, best first."""
    uid = os.geteuid()
    if environ.get("XDG_RUNTIME_DIR"):
        yield os.path.join(environ["XDG_RUNTIME_DIR"], "otel-agent")
    if uid == 0:
        yield "/run/otel-agent"
    for folder in (environ.get("TMPDIR"), "/tmp", "/dev/shm"):
        if folder:
            yield os.path.join(folder, f"otel-agent-{uid}")


def _is_private(folder: str) -> bool:
    status = os.lstat(folder)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def create(environ: Mapping[str, str]) -> str | None:
    """A new private directory for this run, or None when no candidate can hold one."""
    for base in candidates(environ):
        folder = os.path.join(base, os.urandom(6).hex())
        if len(os.path.join(folder, SOCKET).encode()) > MAX_SOCKET_PATH:
            continue
        umask = os.umask(0o077)
        try:
            if not os.path.isdir(base):
                os.mkdir(base, 0o700)
            if _is_private(base):
                os.mkdir(folder, 0o700)
                return folder
        except OSError:
            continue
        finally:
            os.umask(umask)
    return None


def write_status(folder: str, status: dict[str, Any]) -> None:
    """Replace the status file. A full disk costs the status, not the run."""
    path = os.path.join(folder, STATUS)
    try:
        descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(status, file)
        os.replace(f"{path}.new", path)
    except OSError:
        pass


def runs(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """The status of every run of this user whose hub answers on its socket, oldest first."""
    found: list[dict[str, Any]] = []
    for base in dict.fromkeys(candidates(environ)):
        try:
            names = os.listdir(base) if _is_private(base) else []
        except OSError:
            continue
        for name in names:
            folder = os.path.join(base, name)
            try:
                with open(os.path.join(folder, STATUS), encoding="utf-8") as file:
                    status = json.load(file)
            except (OSError, ValueError):
                continue
            if isinstance(status, dict) and _alive(status):
                found.append(status)
    return sorted(found, key=lambda status: float(status.get("started", 0)))


def _alive(status: dict[str, Any]) -> bool:
    """A process of ours with the recorded pid and start time: a pid alone may have been reused."""
    pid = status.get("pid")
    return isinstance(pid, int) and start_time(pid) == status.get("start_time")


def start_time(pid: int) -> str:
    """The kernel's start time of a process in clock ticks, or "" when it is gone or /proc is not there."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def remove(folder: str) -> None:
    """Remove a run's directory and what we put into it."""
    try:
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    except OSError:
        pass
