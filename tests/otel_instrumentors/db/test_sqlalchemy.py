"""SQLAlchemy of whatever version is installed, over the real sqlite3 and aiosqlite, both instrumented too."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiosqlite.core
import pytest
import sqlalchemy
import sqlalchemy.engine
import sqlalchemy.engine.default
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import Column, Integer, String, create_engine, event, select, text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError, InvalidRequestError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, declarative_base
from sqlalchemy.pool import QueuePool

from otel_instrumentors import guard, patch, telemetry
from otel_instrumentors.db import sqlalchemy as adapter
from otel_instrumentors.db import sqlite3 as driver
from otel_instrumentors.testing import Recording, instrumented

MODULES = (sqlalchemy.engine, sqlalchemy.engine.default)
DURATION = "db.client.operation.duration"
Base: Any = declarative_base()


class User(Base):  # type: ignore[misc]
    """A table of the app."""

    __tablename__ = "users"
    id = Column(Integer, primary_key=True)
    name = Column(String(50), unique=True)


class Networked(SQLiteDialect_pysqlite):
    """SQLite behind the name and the URL of a database on the network."""

    name = "postgresql"
    supports_statement_cache = True

    def create_connect_args(self, url: Any) -> Any:
        """Ignore the address."""
        return [":memory:"], {}

    @classmethod
    def get_pool_class(cls, url: Any) -> Any:
        """The usual pool."""
        return QueuePool


def _networked() -> type[Networked]:
    return Networked


registry.impls["networked"] = _networked


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Iterator[Recording]:
    """What is recorded while SQLAlchemy, sqlite3 and aiosqlite are instrumented; nothing may be logged by the API."""
    with instrumented(driver, sqlite3, aiosqlite.core), instrumented(adapter, *MODULES) as result:
        yield result
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.fixture
def engine(seen: Recording, tmp_path: Path) -> Iterator[Engine]:
    """An engine on a file with the table `users`, which holds ann; the making of both is recorded."""
    made = create_engine(f"sqlite:///{tmp_path}/app.db", future=True)
    Base.metadata.create_all(made)
    with made.begin() as connection:
        connection.execute(text("INSERT INTO users (name) VALUES ('ann')"))
    yield made
    made.dispose()


def names(seen: Recording, after: int = 0) -> list[str]:
    return [span.name for span in seen.spans[after:]]


def children(seen: Recording, parent: ReadableSpan) -> list[str]:
    return [span.name for span in seen.spans if span.parent and span.parent.span_id == parent.context.span_id]


def test_a_query_is_one_span(seen: Recording, engine: Engine, tmp_path: Path) -> None:
    """One CLIENT span and one measurement per statement, none for connecting, none of the driver below."""
    before = len(seen.spans)
    with engine.connect() as connection:
        query = text("SELECT name FROM users WHERE id = :id AND name <> 'secret'")
        assert connection.execute(query, {"id": 1}).scalar() == "ann"
    (span,) = seen.spans[before:]
    assert (span.name, span.kind, span.status.status_code) == ("SELECT users", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes or {}) == {
        "db.system.name": "sqlite",
        "db.namespace": f"{tmp_path}/app.db",
        "db.query.text": "SELECT name FROM users WHERE id = ? AND name <> ?",
        "db.query.summary": "SELECT users",
        "db.operation.name": "SELECT",
        "db.collection.name": "users",
    }
    (point,) = [point for point in seen.points(DURATION) if point.attributes["db.operation.name"] == "SELECT"]
    assert (point.count, point.attributes) == (
        1,
        {
            "db.system.name": "sqlite",
            "db.namespace": f"{tmp_path}/app.db",
            "db.operation.name": "SELECT",
            "db.collection.name": "users",
        },
    )
    assert sum(point.count for point in seen.points(DURATION)) == len(seen.spans)


def test_an_address_on_the_network(seen: Recording) -> None:
    """Host and port of the URL are on the span, the host on the measurement, user and password nowhere."""
    engine = create_engine("networked://scott:tiger@db.example.org:5433/shop", future=True)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    engine.dispose()
    (span,) = seen.spans
    assert dict(span.attributes or {}) == {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "server.address": "db.example.org",
        "server.port": 5433,
        "db.query.text": "SELECT ?",
        "db.query.summary": "SELECT",
        "db.operation.name": "SELECT",
    }
    (point,) = seen.points(DURATION)
    assert point.attributes == {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "server.address": "db.example.org",
        "db.operation.name": "SELECT",
    }


def test_orm(seen: Recording, engine: Engine) -> None:
    """The unit of work's statements are children of the span around them."""
    tracer = seen.tracer_provider.get_tracer("test")
    with tracer.start_as_current_span("work") as span, Session(engine, future=True) as session:
        session.add(User(name="bob"))
        session.flush()
        user = session.execute(select(User).where(User.name == "bob")).scalar_one()
        user.name = "bill"  # type: ignore[assignment]
        session.flush()
        session.delete(user)
        session.commit()
        assert trace.get_current_span() is span
    expected = ["INSERT users", "SELECT users", "UPDATE users", "DELETE users"]
    assert children(seen, seen.span("work")) == expected


def test_engines_made_before(tmp_path: Path) -> None:
    """An engine, and even an open connection, from before instrumentation is observed."""
    engine = create_engine(f"sqlite:///{tmp_path}/app.db", future=True)
    with engine.connect() as connection:
        with instrumented(adapter, *MODULES) as seen:
            connection.execute(text("SELECT 1"))
            with engine.connect() as other:
                other.execute(text("SELECT 2"))
        connection.execute(text("SELECT 3"))
    engine.dispose()
    assert names(seen) == ["SELECT", "SELECT"]


def test_executemany(seen: Recording, engine: Engine) -> None:
    """Many rows in one call are one span, also where SQLAlchemy makes a long VALUES of them."""
    before = len(seen.spans)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users (name) VALUES (:name)"), [{"name": f"a{i}"} for i in range(50)])
    with Session(engine, future=True) as session:
        session.add_all([User(name=f"b{i}") for i in range(1500)])
        session.flush()
        session.rollback()
    found = seen.spans[before:]
    if hasattr(sqlalchemy.engine.Connection, "_exec_insertmany_context"):
        assert names(seen, before) == ["INSERT users", "INSERT users"]
    assert {(span.attributes or {})["db.query.text"] for span in found} <= {
        "INSERT INTO users (name) VALUES (?)",
        "INSERT INTO users (name) VALUES (?) RETURNING id",
    }


def test_exec_driver_sql_and_streaming(seen: Recording, engine: Engine) -> None:
    """A driver's own text and a streamed result are one span each; its rows come after the span's end."""
    before = len(seen.spans)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM users").scalar() == 1
        rows: Any = connection.execution_options(stream_results=True).execute(select(User.name))
        ended = len(seen.spans)
        assert [row[0] for row in rows] == ["ann"]
    assert names(seen, before) == ["SELECT users", "SELECT users"]
    assert ended == len(seen.spans)


def test_errors(seen: Recording, engine: Engine) -> None:
    """SQLAlchemy's exception is as ever; the span has the driver's, and nothing of the parameters."""
    with pytest.raises(IntegrityError) as caught, engine.begin() as connection:
        connection.execute(text("INSERT INTO users (name) VALUES (:name)"), {"name": "ann"})
    assert "[parameters: ('ann',)]" in str(caught.value)
    span = seen.spans[-1]
    attributes = dict(span.attributes or {})
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "UNIQUE constraint failed: users.name",
    )
    assert attributes["error.type"] == "sqlite3.IntegrityError"
    if hasattr(caught.value.orig, "sqlite_errorcode"):
        assert attributes["db.response.status_code"] == "2067"
    assert {point.count for point in seen.points(DURATION) if "error.type" in point.attributes} == {1}
    with pytest.raises(OperationalError), engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM missing"))
    assert seen.span("SELECT missing").status.description == "no such table: missing"


def test_a_statement_that_never_ran(seen: Recording, engine: Engine) -> None:
    """A missing parameter or a dead transaction is no database operation."""
    before = len(seen.spans)
    with engine.connect() as connection:
        with pytest.raises(Exception, match="bind parameter"):
            connection.execute(text("SELECT :a"), {})
        transaction = connection.begin()
        transaction.rollback()
        connection.close()
        with pytest.raises(InvalidRequestError):
            connection.execute(text("SELECT 1"))
    assert len(seen.spans) == before


def test_the_apps_listeners(seen: Recording, engine: Engine) -> None:
    """Listeners of the app run, may change the statement, and what they query is a child of the statement."""
    heard: list[str] = []

    def before(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> Any:
        heard.append(statement)
        if "users" in statement:
            conn.exec_driver_sql("SELECT 42")
            return "SELECT 'other'", parameters
        return statement, parameters

    def failed(exception: Any) -> Any:
        return RuntimeError("of the app")

    event.listen(engine, "before_cursor_execute", before, retval=True)
    event.listen(engine, "handle_error", failed)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM users")).scalar() == "other"
        with pytest.raises(RuntimeError, match="of the app"):
            connection.execute(text("SELECT 1 FROM missing"))
    assert heard == ["SELECT name FROM users", "SELECT 42", "SELECT 1 FROM missing"]
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert seen.span("SELECT missing").status.status_code is StatusCode.ERROR


def test_a_pool_tests_its_connections_in_silence(seen: Recording, tmp_path: Path) -> None:
    """pool_pre_ping and what a `connect` listener does are no operations of the app; raw connections are."""
    engine = create_engine(f"sqlite:///{tmp_path}/app.db", pool_pre_ping=True, poolclass=QueuePool, future=True)

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, record: Any) -> None:
        connection.execute("PRAGMA foreign_keys=ON")

    for _ in range(3):
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    assert names(seen) == ["SELECT"] * 3
    raw: Any = engine.raw_connection()
    raw.cursor().execute("SELECT 2 FROM (SELECT 3)")
    raw.close()
    engine.dispose()
    assert names(seen, 3) == ["SELECT SELECT"]


def test_suppressed_and_not_sampled(seen: Recording, engine: Engine) -> None:
    """Suppressed: nothing. Not sampled: no span, but the measurement, once."""
    spans, counted = len(seen.spans), sum(point.count for point in seen.points(DURATION))
    token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    context.detach(token)
    assert sum(point.count for point in seen.points(DURATION)) == counted
    telemetry.use(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False), seen.meter_provider)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    assert sum(point.count for point in seen.points(DURATION)) == counted + 1
    assert len(seen.spans) == spans


def test_threads(seen: Recording, engine: Engine) -> None:
    """Statements of a thread are children of that thread's span."""
    tracer = seen.tracer_provider.get_tracer("test")

    def work(index: int) -> None:
        with tracer.start_as_current_span(f"thread {index}"):
            for _ in range(10):
                with engine.connect() as connection:
                    connection.execute(text("SELECT name FROM users"))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(4):
        assert children(seen, seen.span(f"thread {index}")) == ["SELECT users"] * 10


async def test_asyncio(seen: Recording, tmp_path: Path) -> None:
    """Concurrent tasks of an async engine: one span per statement, children of their task's span, one trace each."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/async.db")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("INSERT INTO users (name) VALUES ('ann')"))
    tracer = seen.tracer_provider.get_tracer("test")

    async def work(index: int) -> None:
        with tracer.start_as_current_span(f"task {index}") as span:
            async with AsyncSession(engine) as session:
                for _ in range(5):
                    assert (await session.execute(select(User.name))).scalar_one() == "ann"
                    assert trace.get_current_span() is span
                stream: Any = await session.stream(select(User.name))
                assert [row[0] async for row in stream] == ["ann"]

    await asyncio.gather(*(work(index) for index in range(3)))
    for index in range(3):
        assert children(seen, seen.span(f"task {index}")) == ["SELECT users"] * 6
    with pytest.raises(OperationalError):
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1 FROM missing"))
    await engine.dispose()
    span = seen.span("SELECT missing")
    assert (span.status.status_code, (span.attributes or {})["error.type"]) == (
        StatusCode.ERROR,
        "sqlite3.OperationalError",
    )
    setup = [span.name for span in seen.spans if span.parent is None and not span.name.startswith("task")]
    assert {name.split()[0] for name in setup} == {"PRAGMA", "CREATE", "INSERT", "SELECT"}
    assert sum(point.count for point in seen.points(DURATION)) == len(seen.spans) - 3


async def test_cancelled(seen: Recording, tmp_path: Path) -> None:
    """A cancelled statement ends its span as an error, and its context is not left behind."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/async.db")
    slow = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT max(i) FROM n"
    )
    async with engine.connect() as connection:
        with pytest.raises((asyncio.TimeoutError, TimeoutError)):
            await asyncio.wait_for(connection.execute(slow), 0.01)
        assert trace.get_current_span() is trace.INVALID_SPAN
    await engine.dispose()
    (span,) = [span for span in seen.spans if span.name.startswith("SELECT")]
    assert span.status.status_code is StatusCode.ERROR
    assert str((span.attributes or {})["error.type"]).endswith("CancelledError")


def test_a_fault_of_ours_is_not_the_apps(seen: Recording, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """When our reading fails, the statement runs, once, and the fault is counted."""
    monkeypatch.setattr(guard, "strict", False)
    monkeypatch.setattr("otel_instrumentors.db.lifecycle.read", lambda sql, dialect: 1 / 0)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users (name) VALUES ('bob')"))
        assert connection.execute(text("SELECT count(*) FROM users")).scalar() == 2
    assert guard.faults["db.start"] >= 2
    guard.reset()


def test_the_originals_come_back() -> None:
    """Instrumenting twice patches once; restoring gives the identical functions and no listener."""
    connection, pool = sqlalchemy.engine.Connection, sqlalchemy.pool.base._ConnectionRecord
    methods = ("_exec_single_context", "_exec_insertmany_context", "_cursor_execute", "_handle_dbapi_exception")

    def current() -> list[Any]:
        return [
            *(vars(connection).get(name) for name in methods),
            vars(pool)["_ConnectionRecord__connect"],
            vars(sqlalchemy.engine.default.DefaultDialect)["do_ping"],
        ]

    before = current()
    for module in MODULES * 2:
        adapter.instrument(module)
    assert any(new is not old for new, old in zip(current(), before, strict=True))
    assert patch.missing.get(adapter.LIBRARY) is None
    patch.restore(adapter.LIBRARY)
    assert all(new is old for new, old in zip(current(), before, strict=True))
    assert not event.contains(Engine, "before_cursor_execute", adapter._before)
