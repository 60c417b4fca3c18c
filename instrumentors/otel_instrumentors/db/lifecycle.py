"""The one lifecycle of a database operation: a CLIENT span and the metric of the stable database conventions.

An adapter describes the database once (`Target`), calls `start` with the statement, and makes the app's call with
`run`. Layers nest: what a driver does while an operation of a library above it runs is part of that operation.
https://opentelemetry.io/docs/specs/semconv/database/database-spans/
"""

from __future__ import annotations

import os
import re
import time
from typing import Any

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from .. import semconv
from ..guard import guarded
from ..telemetry import Telemetry
from . import tokens
from .statement import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_POINTS = 1024  # remembered attribute sets of a target's measurements; further ones are made anew

telemetry = Telemetry("db")
_LAYER = context.create_key("otel_instrumentors.database")
_PLAIN = "suppress_instrumentation"  # what older instrumentors set; the API's own key is private
_SUPPRESSED = (_PLAIN, getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", _PLAIN))
_QUOTED = re.compile(r"""(?<!\w)'[^']*'?|(?<=: )"[^"]*"?""")


class Target:
    """A database that operations go to.

    system: db.system.name. namespace: db.namespace. address, port: of a database on the network, else None.
    """

    __slots__ = ("_points", "attributes", "dialect", "label", "system")

    def __init__(
        self, system: str, namespace: str | None = None, address: str | None = None, port: int | None = None
    ) -> None:
        self.system = system
        self.label = namespace or address or system  # name of a span whose statement says nothing
        self.dialect = tokens.dialect(system)
        self.attributes: dict[str, Any] = {semconv.DB_SYSTEM_NAME: system}
        if namespace:
            self.attributes[semconv.DB_NAMESPACE] = namespace
        if address:
            self.attributes[semconv.SERVER_ADDRESS] = address
            if port:
                self.attributes[semconv.SERVER_PORT] = port
        self._points: dict[tuple[str | None, str | None, str | None], dict[str, Any]] = {}

    def point(self, operation: str | None, collection: str | None, error: str | None) -> dict[str, Any]:
        """The attributes of a measurement, the same object for the same kind of operation."""
        key = operation, collection, error
        attributes = self._points.get(key)
        if attributes is None:
            attributes = {key: value for key, value in self.attributes.items() if key != semconv.SERVER_PORT}
            if operation:
                attributes[semconv.DB_OPERATION_NAME] = operation
            if collection:
                attributes[semconv.DB_COLLECTION_NAME] = collection
            if error:
                attributes[semconv.ERROR_TYPE] = error
            if len(self._points) < MAX_POINTS:
                self._points[key] = attributes
        return attributes


class Layer:
    """Something that covers what the drivers below do, until it has `ended`."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended = False


class Operation(Layer):
    """One observed database call, from `start` to `finish`."""

    __slots__ = ("_context", "_span", "_started", "_statement", "_target", "_token")

    def __init__(self, target: Target, sql: str, current: Context) -> None:
        self.ended = False
        self._target = target
        self._statement = statement = read(sql, target.dialect)
        self._started = started = time.time_ns()
        self._span: Span = telemetry.tracer.start_span(
            statement.summary or target.label,
            current,
            SpanKind.CLIENT,
            {**target.attributes, **statement.attributes},
            start_time=started,
        )
        here = context.set_value(_LAYER, self, trace.set_span_in_context(self._span, current))
        self._context: Context | None = here
        self._token = context.attach(here)

    def finish(self, error: BaseException | None = None) -> None:
        """Record the metric, then end the span. `error` is what the app's call raised. Only the first call counts."""
        if self.ended:
            return
        self.ended = True
        ended = time.time_ns()
        context.detach(self._token)
        self._record(ended, error)
        self._context = None  # it leads back here: no garbage cycle per statement
        self._span.end(ended)

    @guarded("db.record")
    def _record(self, ended: int, error: BaseException | None) -> None:
        error_type = None
        if error is not None:
            cause = _cause(error)
            error_type = _type_name(type(cause))
            if self._span.is_recording():
                _describe(self._span, cause, error_type)
        statement = self._statement
        attributes = self._target.point(statement.operation, statement.collection, error_type)
        seconds = max(ended - self._started, 0) / 1e9  # the wall clock may be set back
        telemetry.histogram(semconv.DB_CLIENT_OPERATION_DURATION).record(seconds, attributes, self._context)


@guarded("db.start")
def start(target: Target, sql: object, driver: bool = False) -> Operation | None:
    """Begin an operation with a statement; its context is current until it finishes, in the same thread or task.

    None when nothing is to be observed: instrumentation is suppressed, `sql` is no text, or the caller is a `driver`
    below an operation that is being observed.
    """
    if not isinstance(sql, str):
        return None
    current = context.get_current()
    if current and (any(current.get(key) for key in _SUPPRESSED) or (driver and _covered(current))):
        return None
    return Operation(target, sql, current)


def run(operation: Operation, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Make the app's call, once, within `operation`; its result or its exception is passed on."""
    try:
        result = call(*args, **kwargs)
    except BaseException as error:
        operation.finish(error)
        raise
    operation.finish()
    return result


def cover(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Make a call of a library to its own ends (it opens or tests a connection): no operation of a driver inside."""
    layer = Layer()
    token = context.attach(context.set_value(_LAYER, layer))
    try:
        return call(*args, **kwargs)
    finally:
        layer.ended = True
        context.detach(token)


def file_namespace(database: object) -> str | None:
    """db.namespace of a database in a file: its path; of a `file:` URI without the parameters, which may hold keys."""
    if isinstance(database, os.PathLike):
        database = os.fspath(database)
    if isinstance(database, bytes):
        database = os.fsdecode(database)
    if not isinstance(database, str):
        return None
    if database.startswith("file:"):
        database = database[5:].partition("?")[0]
    return database or None


def _covered(current: Context) -> bool:
    # A task that was started while an operation ran keeps its context; what counts is whether it still runs.
    layer = current.get(_LAYER)
    return isinstance(layer, Layer) and not layer.ended


def _cause(error: BaseException) -> BaseException:
    """The driver's exception, when a library above wrapped it (`orig` is SQLAlchemy's word)."""
    cause = getattr(error, "orig", None)
    return cause if isinstance(cause, BaseException) else error


def _type_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _describe(span: Span, error: BaseException, error_type: str) -> None:
    """Mark the span as failed. Values that databases quote in their messages are taken out, and further lines
    (PostgreSQL's DETAIL holds a row) too."""
    span.set_attribute(semconv.ERROR_TYPE, error_type)
    code = _status_code(error)
    if code is not None:
        span.set_attribute(semconv.DB_RESPONSE_STATUS_CODE, code)
    message = str(error).partition("\n")[0]
    span.set_status(Status(StatusCode.ERROR, _QUOTED.sub("?", message)))


def _status_code(error: BaseException) -> str | None:
    """The code the database answered, where the driver keeps it: psycopg and asyncpg, psycopg2, sqlite3, MySQL
    Connector, oracledb; PyMySQL and mysqlclient put the number first, pyodbc the SQLSTATE."""
    if isinstance(error, OSError):
        return None  # its errno is the operating system's
    for name in ("sqlstate", "pgcode", "sqlite_errorcode", "errno"):
        code = getattr(error, name, None)
        if isinstance(code, (str, int)) and code:
            return str(code)
    first = error.args[0] if error.args else None
    full_code = getattr(first, "full_code", None)
    if isinstance(full_code, str) and full_code:
        return full_code
    if isinstance(first, int) and len(error.args) > 1:
        return str(first)
    if isinstance(first, str) and re.fullmatch(r"[0-9A-Z]{5}", first) and len(error.args) > 1:
        return first
    return None
