"""What /health, /live and /ready say. All texts are constants: class O tells no host names, no error texts (S3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Protocol

WORST = ("pass", "warn", "fail")
DEAD = "the app has ended"
UNREADY = "the app has no port open and has served no request yet"
FAILING = "the destination does not take the data"


class App(Protocol):
    """The supervised process."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    def listens(self) -> bool:
        """Whether it has a port open."""


class Health:
    """Reads the parts when asked. `exports` gives the export's own report, a list of one dict per destination."""

    def __init__(
        self,
        resource: dict[str, Any],
        app: App,
        connected: Callable[[], int],
        served: Callable[[], bool],
        exports: Callable[[], list[dict[str, Any]]],
    ) -> None:
        self._resource = resource
        self._app = app
        self._connected = connected
        self._served = served
        self._exports = exports
        self._started = time.time()

    def began(self, started: float) -> None:
        """The app's start, in seconds since the epoch."""
        self._started = started

    def dead(self) -> str | None:
        """Why /live fails."""
        return None if self._app.alive else DEAD

    def unready(self) -> str | None:
        """Why /ready fails."""
        if not self._app.alive:
            return DEAD
        return None if self._served() or self._app.listens() else UNREADY

    def report(self) -> dict[str, Any]:
        """The body of /health, by draft-inadarei-api-health-check."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        alive = self._app.alive
        checks = {
            "app:process": [_check("process", "pass" if alive else "fail", now, output="" if alive else DEAD)],
            "workers:connected": [_check("component", "pass", now, self._connected(), "workers")],
        }
        for one in self._exports():
            status, output = ("warn", FAILING) if one.get("failing") else ("pass", "")
            queue = one.get("queue", {})
            check = _check("component", status, now, queue.get("records", 0), "records", output)
            checks.setdefault(f"export.{one.get('signal')}:queue", []).append(check)
        worst = max((check["status"] for found in checks.values() for check in found), key=WORST.index)
        version = self._resource.get("service.version")
        return {
            "status": worst,
            **({"version": version} if version else {}),
            "serviceId": self._resource["service.name"],
            "uptime_seconds": round(max(time.time() - self._started, 0.0), 3),
            "checks": checks,
        }


def _check(
    kind: str, status: str, now: str, value: int | None = None, unit: str = "", output: str = ""
) -> dict[str, Any]:
    check: dict[str, Any] = {"status": status, "componentType": kind, "time": now}
    if value is not None:
        check.update(observedValue=value, observedUnit=unit)
    if output:
        check["output"] = output
    return check
