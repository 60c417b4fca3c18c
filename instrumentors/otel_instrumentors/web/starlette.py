"""Starlette 0.37 and FastAPI 0.110 and newer: the route template with its mounts; the request itself is ASGI."""

from __future__ import annotations

import functools
from types import MethodType, ModuleType
from typing import Any

from .. import patch
from ..guard import guarded
from . import asgi
from .server import KEY

LIBRARY = "starlette"


def instrument(module: ModuleType) -> None:
    """Patch one of `starlette.applications`, `starlette.routing`, `fastapi.applications`, `fastapi.routing`."""
    for path, factory in _PATCHES[module.__name__].items():
        owner, _, name = path.partition(".")
        # An inherited method is patched where it stands (older FastAPI has no APIRoute.handle of its own).
        if name in vars(getattr(module, owner, object)):
            patch.replace(LIBRARY, module, path, factory)


def _observed(original: Any) -> Any:
    @functools.wraps(original)
    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if asgi.is_observed(scope):
            await original(self, scope, receive, send)
        else:
            await asgi.serve(MethodType(original, self), scope, receive, send)

    return __call__


def _observed_fastapi(original: Any) -> Any:
    observed = _observed(original)

    @functools.wraps(original)
    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> None:
        _silence(self, scope)
        await observed(self, scope, receive, send)

    return __call__


def _handling(note: Any) -> Any:
    def factory(original: Any) -> Any:
        @functools.wraps(original)
        async def handle(self: Any, scope: Any, receive: Any, send: Any) -> None:
            note(self, scope)
            await original(self, scope, receive, send)

        return handle

    return factory


@guarded("web.starlette.silence")
def _silence(app: Any, scope: Any) -> None:
    """Keep FastAPI's built-in telemetry (0.140 and newer) from recording the request a second time.

    It is on whenever global providers are configured, so it is silent without the agent; an application that hands
    its own providers to FastAPI keeps it.
    """
    config = getattr(app, "_telemetry", None)
    if config is None or scope["type"] == "lifespan" or "fastapi.telemetry" in scope:
        return
    if not any(config.get(f"{signal}_provider") for signal in ("tracer", "meter", "logger")):
        scope["fastapi.telemetry"] = None


@guarded("web.starlette.route")
def _note_route(route: Any, scope: Any) -> None:
    observed = scope.get(KEY)
    if observed is not None:
        observed.matched(route.path_format)


@guarded("web.starlette.route")
def _note_api_route(route: Any, scope: Any) -> None:
    # FastAPI 0.137 and newer keep included routers as a tree; the full template is in this request's context.
    included = scope.get("fastapi", {}).get("effective_route_context")
    if included is not None and included.original_route is route:
        route = included
    _note_route(route, scope)


@guarded("web.starlette.mount")
def _note_mount(route: Any, scope: Any) -> None:
    observed = scope.get(KEY)
    if observed is not None:
        observed.mounted(route.path_format.removesuffix("/{path}"))
        observed.matched("/{path}")  # unless the mounted application knows better


_PATCHES: dict[str, dict[str, Any]] = {
    "starlette.applications": {"Starlette.__call__": _observed},
    "starlette.routing": {
        "Route.handle": _handling(_note_route),
        "WebSocketRoute.handle": _handling(_note_route),
        "Mount.handle": _handling(_note_mount),
    },
    "fastapi.applications": {"FastAPI.__call__": _observed_fastapi},
    "fastapi.routing": {"APIRoute.handle": _handling(_note_api_route)},
}
