"""The one place that swallows our own errors inside the app's process.

A fault of ours costs telemetry only: it is counted, reported once per site, and ten within a minute switch the site
off for ten minutes. With `OTEL_AGENT_STRICT=1` (our test suite) it is raised instead.
"""

from __future__ import annotations

import functools
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

BREAKER_FAULTS = 10
BREAKER_WINDOW = 60.0
BREAKER_PAUSE = 600.0

strict = os.environ.get("OTEL_AGENT_STRICT", "") in ("1", "true")
faults: dict[str, int] = {}
_recent: dict[str, list[float]] = {}
_off_until: dict[str, float] = {}


def _ignore(site: str, error: BaseException) -> None:
    """Default reporter: instrumentors without the agent have nobody to tell."""


report: Callable[[str, BaseException], None] = _ignore


def fault(site: str, error: BaseException) -> None:
    """Count one fault of ours at `site`; raise it again under test, otherwise report the first one of the site."""
    if strict:
        raise error
    faults[site] = faults.get(site, 0) + 1
    now = time.monotonic()
    recent = _recent.setdefault(site, [])
    recent.append(now)
    del recent[:-BREAKER_FAULTS]
    if len(recent) == BREAKER_FAULTS and now - recent[0] <= BREAKER_WINDOW:
        _off_until[site] = now + BREAKER_PAUSE
        recent.clear()
    if faults[site] == 1:
        try:
            report(site, error)
        except Exception:  # noqa: BLE001  the reporter itself must not reach the app either
            pass


def is_open(site: str) -> bool:
    """Whether the breaker of `site` is open, that is, the site is switched off for now."""
    until = _off_until.get(site)
    if until is None:
        return False
    if time.monotonic() >= until:
        del _off_until[site]
        return False
    return True


def guarded(site: str) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
    """Make a function of ours harmless: an exception becomes a counted fault and the result None."""

    def decorate(function: Callable[P, R]) -> Callable[P, R | None]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
            if _off_until and is_open(site):
                return None
            try:
                return function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  the only blind except in the worker (see module docstring)
                fault(site, error)
                return None

        return call

    return decorate


def reset() -> None:
    """Forget all faults and breakers (tests)."""
    faults.clear()
    _recent.clear()
    _off_until.clear()
