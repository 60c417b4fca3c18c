"""gunicorn: whatever application its own workers serve."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .. import patch
from ..guard import guarded

LIBRARY = "gunicorn"

# Other workers (uvicorn's, aiohttp's) call or inspect the application in their own way; theirs are observed elsewhere.
PROTOCOLS = {
    "sync": "wsgi",
    "gthread": "wsgi",
    "gevent": "wsgi",
    "gevent_wsgi": "wsgi",
    "gevent_pywsgi": "wsgi",
    "eventlet": "wsgi",
    "tornado": "wsgi",
    "asgi": "asgi",
}
MODULES = {
    "gunicorn.workers.sync": "wsgi",
    "gunicorn.workers.gthread": "wsgi",
    "gunicorn.workers.base_async": "wsgi",
    "gunicorn.workers.gtornado": "wsgi",
    "gunicorn.workers.gasgi": "asgi",
}


def instrument(module: ModuleType) -> None:
    """Patch `gunicorn.app.base`."""

    def observed(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        app = wrapped(*args, **kwargs)
        return _observe(instance, app) or app

    patch.wrap(LIBRARY, module, "BaseApplication.wsgi", observed)


@guarded("web.gunicorn.wsgi")
def _observe(application: Any, app: Any) -> Any:
    # Not cfg.worker_class: reading that runs the worker's setup() again.
    protocol = _protocol(application.cfg.settings["worker_class"].get())
    if protocol == "asgi":
        from . import asgi

        return asgi.wrap(app)
    if protocol == "wsgi":
        from . import wsgi

        return wsgi.wrap(app)
    return None


def _protocol(worker: Any) -> str | None:
    """The protocol of the setting worker_class: a name, "egg:gunicorn#name", a dotted path, or a class."""
    if isinstance(worker, str):
        name = worker.rpartition("#")[2]
        if name in PROTOCOLS:
            return PROTOCOLS[name]
        module, _, name = name.rpartition(".")
        worker = getattr(sys.modules.get(module), name, None)
    modules = [cls.__module__ for cls in getattr(worker, "__mro__", ())]
    return next((MODULES[module] for module in modules if module in MODULES), None)
