"""wsgiref.simple_server, and servers made from it such as Django's runserver."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from .. import patch
from . import wsgi

LIBRARY = "wsgiref"


def instrument(module: ModuleType) -> None:
    """Patch `wsgiref.simple_server`."""

    def observed(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _set_app(wrapped, *args, **kwargs)

    patch.wrap(LIBRARY, module, "WSGIServer.set_app", observed)


def _set_app(set_app: Any, application: Any) -> Any:
    return set_app(application if application is None else wsgi.wrap(application))
