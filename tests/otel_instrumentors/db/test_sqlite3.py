"""sqlite3 and aiosqlite, the real ones, in memory and in files."""

from __future__ import annotations

import asyncio
import gc
import pickle
import sqlite3
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import aiosqlite.core
import pytest
from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, StatusCode

from otel_instrumentors import patch
from otel_instrumentors.db import sqlite3 as adapter
from otel_instrumentors.testing import Recording, instrumented

DURATION = "db.client.operation.duration"


@pytest.fixture
def seen() -> Iterator[Recording]:
    """What is recorded while sqlite3 and aiosqlite are instrumented."""
    with instrumented(adapter, sqlite3, aiosqlite.core) as result:
        yield result


@pytest.fixture
def connection(seen: Recording) -> Iterator[sqlite3.Connection]:
    """A connection with a table `t (a, b)` that has one row; its making is recorded as span 1 and 2."""
    made = sqlite3.connect(":memory:")
    made.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    made.execute("INSERT INTO t VALUES (1, 'one')")
    yield made
    made.close()


def names(seen: Recording) -> list[str]:
    return [span.name for span in seen.spans]


def test_a_query_is_a_client_span(seen: Recording, connection: sqlite3.Connection) -> None:
    """A statement is one CLIENT span with the attributes of the stable conventions, and one measurement."""
    rows = connection.execute("SELECT b FROM t WHERE a = 1 OR b = ?", ("secret",)).fetchall()
    assert rows == [("one",)]
    span = seen.span("SELECT t")
    assert (span.kind, span.status.status_code) == (SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes or {}) == {
        "db.system.name": "sqlite",
        "db.namespace": ":memory:",
        "db.query.text": "SELECT b FROM t WHERE a = ? OR b = ?",
        "db.query.summary": "SELECT t",
        "db.operation.name": "SELECT",
        "db.collection.name": "t",
    }
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "otel_instrumentors.db"
    (point,) = [point for point in seen.points(DURATION) if point.attributes["db.operation.name"] == "SELECT"]
    seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
    expected = {
        "db.system.name": "sqlite",
        "db.namespace": ":memory:",
        "db.operation.name": "SELECT",
        "db.collection.name": "t",
    }
    assert (point.attributes, point.count) == (expected, 1)
    assert point.value == pytest.approx(seconds)


def test_every_way_to_run_a_statement(seen: Recording, connection: sqlite3.Connection) -> None:
    """Three methods of a connection and three of a cursor make one span each; commit and rollback make none."""
    cursor = connection.cursor()
    for owner in (connection, cursor):
        owner.execute("SELECT 1")
        owner.executemany("INSERT INTO t (b) VALUES (?)", [("x",), ("y",), ("z",)])
        connection.commit()
        owner.executescript("CREATE TABLE u (a); DROP TABLE u;")
        connection.rollback()
    expected = ["SELECT", "INSERT t", "CREATE TABLE u DROP TABLE u"]
    assert names(seen) == ["CREATE TABLE t", "INSERT t", *expected, *expected]
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (7,)


def test_an_error_is_the_same_object(seen: Recording, connection: sqlite3.Connection) -> None:
    """The library's exception passes unchanged; span and measurement say what it was, without its values."""
    with pytest.raises(sqlite3.IntegrityError) as caught:
        connection.execute("INSERT INTO t VALUES (1, 'again')")
    assert str(caught.value) == "UNIQUE constraint failed: t.a"
    span = seen.spans[-1]
    attributes = dict(span.attributes or {})
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, str(caught.value))
    assert attributes["error.type"] == "sqlite3.IntegrityError"
    if sys.version_info >= (3, 11):
        assert attributes["db.response.status_code"] == str(caught.value.sqlite_errorcode) == "1555"
    inserts = [point for point in seen.points(DURATION) if point.attributes["db.operation.name"] == "INSERT"]
    assert {(point.attributes.get("error.type"), point.count) for point in inserts} == {
        (None, 1),
        ("sqlite3.IntegrityError", 1),
    }
    assert [event.name for event in span.events] == []


def test_a_message_keeps_no_value(seen: Recording, connection: sqlite3.Connection) -> None:
    """What SQLite quotes from a statement does not become the status."""
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("SELECT 'CANARY")
    description = seen.spans[-1].status.description
    assert description is not None
    assert "CANARY" not in description


def test_misuse_is_the_librarys_affair(seen: Recording, connection: sqlite3.Connection) -> None:
    """Wrong arguments raise what they raise without us, and make no span."""
    before = len(seen.spans)
    wrong: tuple[tuple[Any, ...], ...] = ((), (b"SELECT 1",), (None,), (1, 2))
    for arguments in wrong:
        with pytest.raises(TypeError):
            connection.execute(*arguments)
    with pytest.raises(TypeError):
        connection.execute(sql="SELECT 1")  # type: ignore[call-arg]
    bare = sqlite3.Cursor.__new__(type(connection.cursor()))
    with pytest.raises(sqlite3.ProgrammingError):
        bare.execute("SELECT 1")
    assert len(seen.spans) == before


def test_connections_and_cursors_are_real_ones(seen: Recording, connection: sqlite3.Connection) -> None:
    """isinstance, repr, row factories, backup, iterdump and the closed set of attributes are the library's."""
    cursor = connection.execute("SELECT 1")
    assert isinstance(connection, sqlite3.Connection)
    assert isinstance(cursor, sqlite3.Cursor)
    assert cursor.connection is connection
    assert repr(connection).startswith("<sqlite3.Connection object at ")
    assert repr(cursor).startswith("<sqlite3.Cursor object at ")
    for real in (connection, cursor):
        with pytest.raises(AttributeError):
            real.unknown = 1  # type: ignore[union-attr]
    connection.row_factory = sqlite3.Row
    assert connection.execute("SELECT b FROM t").fetchone()["b"] == "one"
    connection.commit()
    target = sqlite3.connect(":memory:")
    connection.backup(target)
    assert target.execute("SELECT b FROM t").fetchall() == [("one",)]
    target.close()
    assert "INSERT INTO \"t\" VALUES(1,'one');" in list(connection.iterdump())
    with connection as entered:
        assert entered is connection


class Ordered(sqlite3.Connection):
    """A connection class of an app, with state of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.executed: list[str] = []
        super().__init__(*args, **kwargs)

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self.executed.append(sql)
        return super().execute(sql, *args)


class Shouting(sqlite3.Cursor):
    """A cursor class of an app, as Django has one."""

    def execute(self, sql: str, *args: Any) -> Shouting:
        return super().execute(sql.upper(), *args)


def test_an_apps_own_classes_stay(seen: Recording) -> None:
    """`factory=` of connect and of cursor work, by name and by position, and are observed, once per statement."""
    for made in (
        sqlite3.connect(":memory:", factory=Ordered),
        sqlite3.connect(":memory:", 5.0, 0, None, True, Ordered) if sys.version_info < (3, 13) else None,
    ):
        if made is None:
            continue
        assert isinstance(made, Ordered)
        assert made.execute("SELECT 1").fetchone() == (1,)
        assert made.executed == ["SELECT 1"]
        for cursor in (made.cursor(Shouting), made.cursor(factory=Shouting)):
            assert isinstance(cursor, Shouting)
            assert cursor.execute("select 'a'").fetchone() == ("A",)
        made.close()
        assert names(seen)[-3:] == ["SELECT", "SELECT", "SELECT"]
    assert len(seen.spans) in (3, 6)


def test_a_factory_that_is_no_class(seen: Recording) -> None:
    """A function as factory is called as ever; its connection is its own business."""

    def factory(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        kwargs.pop("factory", None)
        return sqlite3.Connection(*args, **kwargs)

    made = sqlite3.connect(":memory:", factory=factory)  # type: ignore[call-overload]
    assert type(made) is sqlite3.Connection
    cursor = sqlite3.connect(":memory:", factory=Ordered)
    assert isinstance(cursor.cursor(lambda owner: Shouting(owner)), Shouting)
    made.close()
    cursor.close()


def test_the_namespace_is_the_file(seen: Recording, tmp_path: Path) -> None:
    """A path (text, bytes, Path) names the namespace; of a URI the parameters are left out."""
    file = tmp_path / "app.db"
    for database, uri in ((str(file), False), (file, False), (bytes(file), False), (f"file:{file}?mode=rwc", True)):
        made = sqlite3.connect(database, uri=uri)
        made.execute("SELECT 1")
        made.close()
    assert [(span.attributes or {})["db.namespace"] for span in seen.spans] == [str(file)] * 4
    made = sqlite3.dbapi2.connect("")
    made.execute("SELECT 1")
    made.close()
    assert "db.namespace" not in (seen.spans[-1].attributes or {})


def test_a_connection_that_is_forgotten(seen: Recording) -> None:
    """A connection that nobody closes is freed at once, and warned of exactly as without us."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = sqlite3.connect(":memory:")
        made.execute("SELECT 1")
        gc.disable()
        try:
            del made
        finally:
            gc.enable()
        gc.collect()
    expected = [ResourceWarning] if sys.version_info >= (3, 13) else []
    assert [warning.category for warning in caught] == expected


def test_suppressed(seen: Recording, connection: sqlite3.Connection) -> None:
    """Under the API's key for it nothing is recorded, and the statement runs."""
    before = len(seen.spans)
    token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        context.detach(token)
    assert len(seen.spans) == before


def test_threads(seen: Recording) -> None:
    """Each thread's statements are children of that thread's span, and the current span is back afterwards."""
    tracer = seen.tracer_provider.get_tracer("test")

    def work(index: int) -> None:
        made = sqlite3.connect(":memory:")
        with tracer.start_as_current_span(f"thread {index}") as span:
            for _ in range(20):
                made.execute("SELECT 1")
                assert trace.get_current_span() is span
        made.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    roots = {span.context.span_id for span in seen.spans if span.name.startswith("thread")}
    parents = [span.parent.span_id for span in seen.spans if span.parent is not None]
    assert sorted(parents) == sorted(list(roots) * 20)
    assert sum(point.count for point in seen.points(DURATION)) == 80


def test_the_originals_come_back() -> None:
    """Instrumenting twice patches once; restoring gives the identical objects."""
    before = sqlite3.connect, sqlite3.dbapi2.connect, aiosqlite.core.Connection.__dict__["_execute"]
    for _ in range(2):
        adapter.instrument(sqlite3)
        adapter.instrument(aiosqlite.core)
    assert sqlite3.connect is sqlite3.dbapi2.connect is not before[0]
    assert pickle.loads(pickle.dumps(sqlite3.connect)) is sqlite3.connect  # noqa: S301  made a line above
    patch.restore(adapter.LIBRARY)
    after = sqlite3.connect, sqlite3.dbapi2.connect, aiosqlite.core.Connection.__dict__["_execute"]
    assert all(new is old for new, old in zip(after, before, strict=True))


async def test_aiosqlite(seen: Recording) -> None:
    """Its statements run in a thread of its own and are children of the task that awaits them."""
    tracer = seen.tracer_provider.get_tracer("test")

    async def work(index: int) -> list[Any]:
        with tracer.start_as_current_span(f"task {index}"):
            async with aiosqlite.connect(":memory:") as database:
                await database.execute("CREATE TABLE t (a)")
                await database.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
                async with database.execute("SELECT a FROM t") as cursor:
                    return [row async for row in cursor]

    assert await asyncio.gather(*(work(index) for index in range(3))) == [[(1,), (2,)]] * 3
    for index in range(3):
        root = seen.span(f"task {index}")
        children = [span.name for span in seen.spans if span.parent and span.parent.span_id == root.context.span_id]
        assert children == ["CREATE TABLE t", "INSERT t", "SELECT t"]


async def test_aiosqlite_errors(seen: Recording) -> None:
    """An exception of the thread reaches the task as the library's own."""
    async with aiosqlite.connect(":memory:") as database:
        with pytest.raises(sqlite3.OperationalError, match="no such table: missing"):
            await database.execute("SELECT * FROM missing")
    assert seen.span("SELECT missing").status.status_code is StatusCode.ERROR
