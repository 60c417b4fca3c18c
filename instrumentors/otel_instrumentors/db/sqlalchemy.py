"""SQLAlchemy 1.4, 2.0 and 2.1: Core, ORM and asyncio.

From 2.0 on the methods of Connection that make the one DB-API call are wrapped: a listener for the public events
would cost every statement 4 us and every checkout 10 us before it does anything, because events switch off
SQLAlchemy's short path. Where these methods do not exist (1.4) the events are used.
"""

from __future__ import annotations

import functools
import sys
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from .. import patch
from ..guard import guarded
from . import lifecycle
from .lifecycle import Operation, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARY = "sqlalchemy"

# Names of dialects that are not already values of db.system.name.
_SYSTEMS = {
    "awsathena": "aws.athena",
    "bigquery": "gcp.bigquery",
    "db2": "ibm.db2",
    "firebird": "firebirdsql",
    "hana": "sap.hana",
    "ibm_db_sa": "ibm.db2",
    "mssql": "microsoft.sql_server",
    "oracle": "oracle.db",
    "redshift": "aws.redshift",
    "spanner+spanner": "gcp.spanner",
}
_OPERATION = "_otel_operation"  # on the execution context, between two events of SQLAlchemy 1.4

_targets: WeakKeyDictionary[Any, Target] = WeakKeyDictionary()


def instrument(module: ModuleType) -> None:
    """Patch `sqlalchemy.engine` and `.default`: engines made earlier and later, sync and async."""
    # A new connection is set up, a pooled one is tested: no statements of the app.
    if module.__name__ == "sqlalchemy.engine.default":  # loaded with the first dialect
        patch.wrap(LIBRARY, module, "DefaultDialect.do_ping", _covered)
        return
    base, pool = module.base, sys.modules["sqlalchemy.pool.base"]
    if hasattr(base.Connection, "_exec_single_context"):
        patch.replace(LIBRARY, base, "Connection._exec_single_context", _observed)
        patch.replace(LIBRARY, base, "Connection._exec_insertmany_context", _observed)
        patch.replace(LIBRARY, base, "Connection._cursor_execute", _observed_cursor)
    else:
        _listen(base)
    patch.wrap(LIBRARY, pool, "_ConnectionRecord._ConnectionRecord__connect", _covered)


def _observed(original: Callable[..., Any]) -> Callable[..., Any]:
    """Around `(connection, dialect, context, ...)`."""

    @functools.wraps(original)
    def execute(*args: Any, **kwargs: Any) -> Any:
        operation = _start(args)
        if operation is None:
            return original(*args, **kwargs)
        return lifecycle.run(operation, original, args, kwargs)

    return execute


def _observed_cursor(original: Callable[..., Any]) -> Callable[..., Any]:
    """Around `(connection, cursor, statement, ...)`: sequences, and what belongs to a statement that runs already."""

    @functools.wraps(original)
    def execute(*args: Any, **kwargs: Any) -> Any:
        operation = _start_cursor(args)
        if operation is None:
            return original(*args, **kwargs)
        return lifecycle.run(operation, original, args, kwargs)

    return execute


@guarded("db.sqlalchemy.start")
def _start(args: tuple[Any, ...]) -> Operation | None:
    return lifecycle.start(_target(args[0]), args[2].statement)


@guarded("db.sqlalchemy.start")
def _start_cursor(args: tuple[Any, ...]) -> Operation | None:
    return lifecycle.start(_target(args[0]), args[2], driver=True)


def _target(connection: Any) -> Target:
    engine = connection.engine
    target = _targets.get(engine)
    if target is None:
        url, name = engine.url, engine.dialect.name
        host = url.host or url.query.get("host")
        namespace = lifecycle.file_namespace(url.database) if name == "sqlite" else url.database
        address = host if isinstance(host, str) else None
        target = _targets[engine] = Target(_SYSTEMS.get(name, name), namespace, address, url.port)
    return target


def _covered(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return lifecycle.cover(wrapped, args, kwargs)


def _listen(base: ModuleType) -> None:
    """SQLAlchemy 1.4, whose code is final. An exception is seen where it is always seen: the event `handle_error`
    is left out for some statements, and an operation must not stay current."""
    event, engine = sys.modules["sqlalchemy.event"], base.Engine
    if event.contains(engine, "before_cursor_execute", _before):
        return
    for name, listener in (("before_cursor_execute", _before), ("after_cursor_execute", _after)):
        event.listen(engine, name, listener)
        patch.on_restore(LIBRARY, functools.partial(event.remove, engine, name, listener))
    patch.wrap(LIBRARY, base, "Connection._handle_dbapi_exception", _failed)


@guarded("db.sqlalchemy.before")
def _before(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
    if context is not None:
        setattr(context, _OPERATION, lifecycle.start(_target(connection), statement))


@guarded("db.sqlalchemy.after")
def _after(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
    operation = getattr(context, _OPERATION, None)
    if operation is not None:
        operation.finish()


def _failed(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    _fail(args)
    return wrapped(*args, **kwargs)


@guarded("db.sqlalchemy.failed")
def _fail(args: tuple[Any, ...]) -> None:
    error, context = args[0], args[4]  # (e, statement, parameters, cursor, context)
    operation = getattr(context, _OPERATION, None)
    if operation is not None:
        operation.finish(error)
