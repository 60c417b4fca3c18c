"""Fork hooks: registered once per process image, delegating to the runtime."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .runtime import Runtime

_runtime: Runtime | None = None


def register(runtime: Runtime) -> None:
    """Let `runtime` know of every `os.fork` of this process and its children."""
    global _runtime
    first = _runtime is None
    _runtime = runtime
    if first:
        os.register_at_fork(before=_before, after_in_parent=_parent, after_in_child=_child)


def _before() -> None:
    if _runtime is not None:
        _runtime.before_fork()


def _parent() -> None:
    if _runtime is not None:
        _runtime.after_fork_in_parent()


def _child() -> None:
    if _runtime is not None:
        _runtime.after_fork_in_child()
