"""uvicorn: whatever application it serves, also where no framework of ours is inside."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from .. import patch
from ..guard import guarded
from . import asgi, wsgi

LIBRARY = "uvicorn"


def instrument(module: ModuleType) -> None:
    """Patch `uvicorn.config`."""

    def loaded(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = wrapped(*args, **kwargs)
        _observe(instance)
        return result

    patch.wrap(LIBRARY, module, "Config.load", loaded)


@guarded("web.uvicorn.load")
def _observe(config: Any) -> None:
    """Stand directly around the application: inside the middleware that trusts proxy headers, as the server is
    configured to, and, for a WSGI application, inside the thread that runs it."""
    outer, app = None, config.loaded_app
    wsgi_app = config.interface == "wsgi"
    while type(app).__name__ in ("ProxyHeadersMiddleware", "MessageLoggerMiddleware") or (
        wsgi_app and type(app).__name__ in ("WSGIMiddleware", "_WSGIMiddleware")
    ):
        outer, app = app, app.app
    observed = wsgi.wrap(app) if wsgi_app else asgi.wrap(app)
    if outer is None:
        config.loaded_app = observed
    else:
        outer.app = observed
