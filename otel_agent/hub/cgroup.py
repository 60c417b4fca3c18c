"""The memory limit of the container we run in, if there is one (Linux control groups, version 2 and 1)."""

from __future__ import annotations

UNLIMITED = 1 << 60
_V1 = "/sys/fs/cgroup/memory/memory"
_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (f"{_V1}.limit_in_bytes", f"{_V1}.usage_in_bytes", f"{_V1}.stat"),
)


def memory() -> tuple[int, int] | None:
    """(limit, used) in bytes, or None without a limit."""
    for limit_file, used_file, statistics in _FILES:
        limit, used = _number(limit_file), _number(used_file)
        if limit is not None and used is not None and 0 < limit < UNLIMITED:
            return limit, max(used - _inactive_cache(statistics), 0)
    return None


def _inactive_cache(path: str) -> int:
    """Bytes of the page cache the kernel gives back before anything is killed."""
    try:
        with open(path, encoding="ascii") as file:
            found = dict(line.split() for line in file)
    except (OSError, ValueError):
        return 0
    return int(found.get("total_inactive_file") or found.get("inactive_file") or 0)


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):  # "max" is no limit
        return None
