"""Flask 2.2 and newer: the route template and the unhandled exception; the request itself is WSGI."""

from __future__ import annotations

import functools
from types import MethodType, ModuleType
from typing import Any

from .. import patch
from ..guard import guarded
from . import wsgi
from .server import KEY

LIBRARY = "flask"


def instrument(module: ModuleType) -> None:
    """Patch `flask.app`."""

    def observed_call(original: Any) -> Any:
        @functools.wraps(original)
        def __call__(self: Any, environ: Any, start_response: Any) -> Any:
            return wsgi.serve(MethodType(original, self), environ, start_response)

        return __call__

    def routed(original: Any) -> Any:
        @functools.wraps(original)
        def full_dispatch_request(self: Any, *args: Any, **kwargs: Any) -> Any:
            _note_route(module)
            return original(self, *args, **kwargs)

        return full_dispatch_request

    def finalized(original: Any) -> Any:
        @functools.wraps(original)
        def finalize_request(self: Any, *args: Any, **kwargs: Any) -> Any:
            response = original(self, *args, **kwargs)
            _note_response(module, response, args)
            return response

        return finalize_request

    def noticed(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _note_exception(module, args, kwargs)
        return wrapped(*args, **kwargs)

    patch.replace(LIBRARY, module, "Flask.__call__", observed_call)
    patch.replace(LIBRARY, module, "Flask.full_dispatch_request", routed)
    patch.replace(LIBRARY, module, "Flask.finalize_request", finalized)
    patch.wrap(LIBRARY, module, "Flask.handle_exception", noticed)


@guarded("web.flask.route")
def _note_route(module: ModuleType) -> None:
    request = module.request._get_current_object()  # the proxy would look it up for every attribute
    observed = request.environ.get(KEY)
    rule = request.url_rule
    if observed is not None and rule is not None:
        observed.matched(rule.rule)


@guarded("web.flask.response")
def _note_response(module: ModuleType, response: Any, args: tuple[Any, ...]) -> None:
    # The page of an HTTPException looks streamed, although nothing makes it any more.
    if not response.is_streamed or any(isinstance(value, Exception) for value in args):
        observed = module.request.environ.get(KEY)
        if observed is not None:
            observed.complete = True


@guarded("web.flask.exception")
def _note_exception(module: ModuleType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    observed = module.request.environ.get(KEY)
    errors = [value for value in (*args, *kwargs.values()) if isinstance(value, BaseException)]
    if observed is not None and errors:
        observed.fail(errors[0])
