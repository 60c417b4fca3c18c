"""The database lifecycle by itself: layers, messages, codes, limits."""

from __future__ import annotations

import contextvars
import gc
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import StatusCode

from otel_instrumentors.db import lifecycle
from otel_instrumentors.db.lifecycle import Target
from otel_instrumentors.testing import Recording, recording

DURATION = "db.client.operation.duration"
TARGET = Target("postgresql", "shop", "db.example.org", 5433)


@pytest.fixture
def seen() -> Iterator[Recording]:
    """What is recorded during the test."""
    with recording() as result:
        yield result


def observe(sql: str, call: Any = lambda: None, driver: bool = False, target: Target = TARGET) -> Any:
    """`call` as an adapter makes it."""
    operation = lifecycle.start(target, sql, driver)
    return call() if operation is None else lifecycle.run(operation, call, (), {})


def test_a_driver_below_is_part_of_the_operation(seen: Recording) -> None:
    """Only the outermost layer is recorded; a library's own statement inside another's is one of its own."""
    assert observe("SELECT a FROM t", lambda: observe("SELECT b FROM t", lambda: 42, driver=True)) == 42
    assert [span.name for span in seen.spans] == ["SELECT t"]
    observe("SELECT a FROM u", lambda: observe("SELECT b FROM v"))
    assert [(span.name, span.parent and span.parent.span_id) for span in seen.spans[1:]] == [
        ("SELECT u", None),
        ("SELECT v", 2),
    ]


def test_a_context_that_outlives_its_operation(seen: Recording) -> None:
    """A task started during an operation keeps its context; its own statements are recorded all the same."""
    copies: list[contextvars.Context] = []
    observe("SELECT a FROM t", lambda: copies.append(contextvars.copy_context()))
    copies[0].run(observe, "SELECT b FROM u", lambda: None, True)
    lifecycle.cover(lambda: copies.append(contextvars.copy_context()), (), {})
    copies[1].run(observe, "SELECT c FROM v", lambda: None, True)
    assert [span.name for span in seen.spans] == ["SELECT t", "SELECT u", "SELECT v"]


def test_a_covered_call(seen: Recording) -> None:
    """What a driver does inside is not recorded; result and exception pass."""
    assert lifecycle.cover(lambda: observe("SELECT 1", lambda: 42, driver=True), (), {}) == 42
    with pytest.raises(ZeroDivisionError):
        lifecycle.cover(lambda: 1 // 0, (), {})
    assert seen.spans == []
    assert context.get_current() == {}


def test_the_span_is_current_during_the_call(seen: Recording) -> None:
    """The call sees its span, also in an exemplar's context; afterwards what was current before is."""
    inside: list[int] = []
    observe("SELECT 1", lambda: inside.append(trace.get_current_span().get_span_context().span_id))
    assert inside == [seen.spans[0].context.span_id]
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_an_exception_passes_unchanged(seen: Recording) -> None:
    """Any BaseException is the same object, with the app's own frames last; the call ran once."""
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        observe("SELECT 1", fail)
    assert calls == [1]
    assert caught.traceback[-1].name == "fail"
    assert seen.spans[0].status.status_code is StatusCode.ERROR
    assert (seen.spans[0].attributes or {})["error.type"] == "KeyboardInterrupt"
    (point,) = seen.points(DURATION)
    assert point.attributes == {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "db.operation.name": "SELECT",
        "server.address": "db.example.org",
        "error.type": "KeyboardInterrupt",
    }


def test_an_operation_leaves_nothing_behind(seen: Recording) -> None:
    """An ended operation is freed at once, without the garbage collector."""
    gc.disable()
    try:
        operation = lifecycle.start(TARGET, "SELECT 1")
        assert operation is not None
        here = weakref.ref(trace.get_current_span())
        operation.finish()
        operation.finish()
        del operation
        assert here() is None
    finally:
        gc.enable()
    assert len(seen.spans) == 1


def failure(base: type[Exception], *args: Any, **attributes: Any) -> Exception:
    """An exception as a driver makes it."""
    error = base(*args)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


class Info:
    """What oracledb puts into its exceptions."""

    full_code = "ORA-00942"

    def __str__(self) -> str:
        return "ORA-00942: table or view does not exist"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (failure(Exception, "x", sqlstate="42P01"), "42P01"),
        (failure(Exception, "x", pgcode="23505"), "23505"),
        (failure(Exception, "x", sqlite_errorcode=2067), "2067"),
        (failure(Exception, "x", errno=1146, sqlstate="42S02"), "42S02"),
        (failure(Exception, 1146, "Table 'a.b' doesn't exist"), "1146"),
        (failure(Exception, "42S02", "[42S02] Invalid object name"), "42S02"),
        (failure(Exception, Info()), "ORA-00942"),
        (failure(sqlite3.Error, "x", orig=None), None),
        (failure(RuntimeError, "wrapped", orig=failure(Exception, "x", pgcode="40001")), "40001"),
        (ConnectionRefusedError(111, "refused"), None),
        (Exception(), None),
    ],
)
def test_status_codes(seen: Recording, error: Exception, code: str | None) -> None:
    """db.response.status_code is what the driver says the database answered."""

    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        observe("SELECT 1", fail)
    assert (seen.spans[0].attributes or {}).get("db.response.status_code") == code


@pytest.mark.parametrize(
    ("message", "description"),
    [
        ("no such table: users", "no such table: users"),
        ('duplicate key value violates unique constraint "uq"\nDETAIL:  Key (email)=(CANARY) already exists.',
         'duplicate key value violates unique constraint "uq"'),
        ("(1062, \"Duplicate entry 'CANARY' for key 'email'\")", '(1062, "Duplicate entry ? for key ?")'),
        ('invalid input syntax for type integer: "CANARY"', "invalid input syntax for type integer: ?"),
        ('unrecognized token: "\'CANARY"', "unrecognized token: ?"),
        ("Can't connect to host", "Can't connect to host"),
        ("value 'CANARY", "value ?"),
        ("", ""),
    ],
)  # fmt: skip
def test_messages(seen: Recording, message: str, description: str) -> None:
    """The status says what the database said, without the values it quoted."""

    def fail() -> None:
        raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        observe("SELECT 1", fail)
    assert (seen.spans[0].status.description or "") == description


def test_a_statement_that_says_nothing(seen: Recording) -> None:
    """The span is called after the database, then its host, then its kind."""
    for target in (TARGET, Target("postgresql", None, "db.example.org"), Target("postgresql")):
        observe("???", target=target)
    assert [span.name for span in seen.spans] == ["shop", "db.example.org", "postgresql"]


def test_measurement_attributes_are_few_objects() -> None:
    """The same kind of operation has the same dictionary; there are not endlessly many of them."""
    target = Target("sqlite", "a.db")
    assert target.point("SELECT", "t", None) is target.point("SELECT", "t", None)
    for index in range(2 * lifecycle.MAX_POINTS):
        target.point("SELECT", f"t{index}", None)
    assert len(target._points) == lifecycle.MAX_POINTS
    assert target.point("SELECT", "another", None)["db.collection.name"] == "another"


@pytest.mark.parametrize(
    ("database", "namespace"),
    [
        ("app.db", "app.db"),
        (":memory:", ":memory:"),
        (b"app.db", "app.db"),
        (Path("app.db"), "app.db"),
        ("file:app.db?mode=ro&key=CANARY", "app.db"),
        ("", None),
        (None, None),
        (3, None),
    ],
)
def test_namespace_of_a_file(database: object, namespace: str | None) -> None:
    """A file's path, without the parameters of a URI."""
    assert lifecycle.file_namespace(database) == namespace
