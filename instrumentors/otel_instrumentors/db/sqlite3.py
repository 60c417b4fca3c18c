"""sqlite3, and aiosqlite above it.

`connect` makes connections of a subclass of what the app asked for, and these make cursors of a subclass: the
library's own types are final, and their instances must stay real ones for backup(), isinstance and row factories.
"""

from __future__ import annotations

import contextvars
import functools
import sys
from types import ModuleType
from typing import Any

from opentelemetry import context

from .. import patch
from ..guard import guarded
from . import lifecycle
from .lifecycle import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARY = "sqlite3"

_FACTORY = 5  # position of the argument `factory` of connect()
_TARGET = "_otel_target"
_SYSTEM = "sqlite"
_METHODS = ("execute", "executemany", "executescript")


def instrument(module: ModuleType) -> None:
    """Patch `sqlite3` (`connect`, also as `sqlite3.dbapi2.connect`), or `aiosqlite.core`."""
    if module.__name__ == "aiosqlite.core":
        patch.wrap(LIBRARY, module, "Connection._execute", _carried)
        return

    @functools.cache
    def replacement(original: Any) -> Any:
        return _connecting(module, original)

    patch.replace(LIBRARY, module, "connect", replacement)
    patch.replace(LIBRARY, module, "dbapi2.connect", replacement)


def _connecting(module: ModuleType, original: Callable[..., Any]) -> Callable[..., Any]:
    """`connect` with a subclass of its factory."""

    @functools.wraps(original)
    def connect(*args: Any, **kwargs: Any) -> Any:
        observed = _with_factory(module, args, kwargs)
        if observed is None:
            return original(*args, **kwargs)
        connection = original(*observed[0], **observed[1])
        _describe(connection, args, kwargs)
        return connection

    connect.__module__ = module.__name__  # a builtin is pickled by its place: this one stands here
    return connect


@guarded("db.sqlite3.connect")
def _with_factory(
    module: ModuleType, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of `connect` with the observed factory; None when the factory is no class of connections."""
    positional = len(args) > _FACTORY
    factory = args[_FACTORY] if positional else kwargs.get("factory", module.Connection)
    if not (isinstance(factory, type) and issubclass(factory, module.Connection)):
        return None
    observed = _connection_class(factory, module.Connection, module.Cursor)
    if positional:
        return (*args[:_FACTORY], observed, *args[_FACTORY + 1 :]), kwargs
    return args, {**kwargs, "factory": observed}


@guarded("db.sqlite3.connect")
def _describe(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    database = args[0] if args else kwargs.get("database")
    setattr(connection, _TARGET, Target(_SYSTEM, lifecycle.file_namespace(database)))


@functools.lru_cache(maxsize=128)
def _connection_class(base: Any, connection: Any, cursor: Any) -> Any:
    """A subclass of `base` that makes observed cursors and shows its base's name."""
    make = base.cursor

    @functools.wraps(make)
    def observed_cursor(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args:
            args = (_observed_factory(args[0], cursor), *args[1:])
        elif "factory" in kwargs:
            kwargs = {**kwargs, "factory": _observed_factory(kwargs["factory"], cursor)}
        elif make is connection.cursor:
            args = (_cursor_class(cursor) or cursor,)
        return make(self, *args, **kwargs)

    body = {"cursor": observed_cursor, "__slots__": (_TARGET,)}
    if sys.version_info >= (3, 11):  # before, these three called cursor() themselves
        body.update({name: _shortcut(name, getattr(base, name), connection, cursor) for name in _METHODS})
    return _subclass(base, body)


def _shortcut(name: str, original: Callable[..., Any], connection: Any, cursor: Any) -> Callable[..., Any]:
    """Connection.execute and its sisters: the method of that name of a new cursor, as the library's own does."""
    if original is not getattr(connection, name):
        return _observed(original)  # the app's own; it ends in the library's, which makes a plain cursor

    @functools.wraps(original)
    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = connection.cursor(self, _cursor_class(cursor) or cursor)
        return getattr(made, name)(*args, **kwargs)

    return execute


def _observed_factory(factory: Any, cursor: Any) -> Any:
    if isinstance(factory, type) and issubclass(factory, cursor):
        return _cursor_class(factory) or factory
    return factory


@guarded("db.sqlite3.cursor")
@functools.lru_cache(maxsize=128)
def _cursor_class(base: Any) -> Any:
    """A subclass of `base` whose statements are observed."""
    if getattr(base, "_otel_observed", False):
        return base
    methods = {name: _observed(getattr(base, name)) for name in _METHODS}
    return _subclass(base, {**methods, "__slots__": (), "_otel_observed": True})


def _subclass(base: Any, body: dict[str, Any]) -> Any:
    return type(base)(
        base.__name__, (base,), {**body, "__module__": base.__module__, "__qualname__": base.__qualname__}
    )


def _observed(original: Callable[..., Any]) -> Callable[..., Any]:
    """Around `(cursor or connection, sql, ...)`."""

    @functools.wraps(original)
    def execute(*args: Any, **kwargs: Any) -> Any:
        target = getattr(getattr(args[0], "connection", args[0]), _TARGET, None) if len(args) > 1 else None
        operation = lifecycle.start(target, args[1], driver=True) if target is not None else None
        if operation is None:
            return original(*args, **kwargs)
        return lifecycle.run(operation, original, args, kwargs)

    return execute


def _carried(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """aiosqlite calls sqlite3 in a thread of the connection: let the caller's context go with the call."""
    if not args or not context.get_current():
        return wrapped(*args, **kwargs)
    return wrapped(contextvars.copy_context().run, *args, **kwargs)
