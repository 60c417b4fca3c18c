"""Our SQLAlchemy spans against those of opentelemetry-instrumentation-sqlalchemy with the stable conventions.

Upstream supports SQLAlchemy below 2.1 only, so this runs in the environments of tests/matrix.py with 1.4 and 2.0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.engine
import sqlalchemy.ext.asyncio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from packaging.requirements import Requirement
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from otel_instrumentors.db import sqlalchemy as adapter
from otel_instrumentors.testing import Recording, instrumented

upstream = pytest.importorskip("opentelemetry.instrumentation.sqlalchemy")
package = pytest.importorskip("opentelemetry.instrumentation.sqlalchemy.package")
stability = pytest.importorskip("opentelemetry.instrumentation._semconv")
text = sqlalchemy.text

_SUPPORTED = any(
    Requirement(text).specifier.contains(sqlalchemy.__version__, prereleases=True) for text in package._instruments
)
pytestmark = pytest.mark.skipif(
    not _SUPPORTED,
    reason=f"upstream supports {' '.join(package._instruments)}, here is {sqlalchemy.__version__}",
)

# What we do otherwise, on purpose: attribute (or part of a span) -> why.
DIFFERENCES = {
    "connect": "upstream makes a span per checkout from the pool; the conventions have no such operation",
    "name": "{db.query.summary} of the stable conventions; upstream: first word and namespace",
    "db.operation.name": "the operation alone, upper case; upstream adds the namespace",
    "db.query.text": "literals become ?, comments go, white space is one blank; upstream: the raw statement",
    "db.query.summary": "ours only",
    "db.collection.name": "ours only: the first table of the statement",
    "error.type": "ours only, on failed operations",
    "db.response.status_code": "ours only, on failed operations whose driver gives a code",
    "status description": "without further lines and quoted values of the database's message",
    "insertmanyvalues": "one span for the app's call; upstream: one for each batch SQLAlchemy makes of it",
}


class Networked(SQLiteDialect_pysqlite):
    """SQLite behind the name and the URL of a database on the network."""

    name = "mysql"
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


registry.impls["networked.upstream"] = _networked


def workload(folder: Path) -> None:
    """What an app does: Core, many rows, errors, comments, literals, a network database, asyncio."""
    engine = sqlalchemy.create_engine(f"sqlite:///{folder}/app.db", future=True)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"))
        connection.execute(text("INSERT INTO items (name) VALUES (:name)"), {"name": "one"})
        connection.execute(text("insert into items (name) values (:name)"), [{"name": "two"}, {"name": "three"}])
        connection.execute(text("/* page */ SELECT id\nFROM items WHERE name = 'two' AND id > 1"))
        connection.exec_driver_sql("PRAGMA table_info(items)")
    for wrong in ("SELECT 1 FROM missing", "INSERT INTO items (id) VALUES (1)"):
        with pytest.raises(DBAPIError), engine.begin() as connection:
            connection.execute(text(wrong))
    engine.dispose()
    remote = sqlalchemy.create_engine("networked+upstream://scott:tiger@db.example.org:5433/shop", future=True)
    with remote.connect() as connection:
        connection.execute(text("SELECT :a"), {"a": 1})
    remote.dispose()
    asyncio.run(asynchronous(folder))


async def asynchronous(folder: Path) -> None:
    """The same file through an async engine."""
    engine = sqlalchemy.ext.asyncio.create_async_engine(f"sqlite+aiosqlite:///{folder}/app.db")
    async with engine.connect() as connection:
        await connection.execute(text("SELECT count(*) FROM items"))
    await engine.dispose()


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Recording], None]]:
    """Start the upstream instrumentor with the stable conventions, on a recording; stopped after the test."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "database,http")
    monkeypatch.setattr(stability._OpenTelemetrySemanticConventionStability, "_initialized", False)
    instrumentor = upstream.SQLAlchemyInstrumentor()

    def start(recording: Recording) -> None:
        instrumentor.instrument(tracer_provider=recording.tracer_provider, meter_provider=recording.meter_provider)

    yield start
    instrumentor.uninstrument()
    stability._OpenTelemetrySemanticConventionStability._initialized = False


def plain(span: ReadableSpan) -> dict[str, Any]:
    """What both must agree on: everything but DIFFERENCES."""
    attributes = dict(span.attributes or {})
    return {
        "kind": span.kind,
        "status": span.status.status_code,
        "description": span.status.description,
        "parent": span.parent and span.parent.span_id,
        "events": [event.name for event in span.events],
        "operation": str(attributes.get("db.operation.name")).split()[0].upper(),
        **{name: value for name, value in attributes.items() if name not in DIFFERENCES},
    }


def test_the_same_spans(tmp_path: Path, reference: Callable[[Recording], None]) -> None:
    """As many operations, equal in kind, status, parent, system, namespace and address; names and texts as written."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    with instrumented(adapter, sqlalchemy.engine) as ours:
        workload(tmp_path / "ours")
    theirs = Recording()
    reference(theirs)
    workload(tmp_path / "theirs")

    compared = [span for span in theirs.spans if span.name != "connect"]
    assert len(theirs.spans) > len(compared)
    mine, other = [plain(span) for span in ours.spans], [plain(span) for span in compared]
    for span in mine + other:
        span["db.namespace"] = str(span["db.namespace"]).replace("/ours/", "/").replace("/theirs/", "/")
    assert mine == other
    assert {span["kind"] for span in mine} == {SpanKind.CLIENT}

    folder = f"{tmp_path}/theirs/app.db"
    assert [(span.name, new.name) for span, new in zip(compared, ours.spans, strict=True)] == [
        (f"CREATE {folder}", "CREATE TABLE items"),
        (f"INSERT {folder}", "INSERT items"),
        (f"insert {folder}", "INSERT items"),
        (f"SELECT {folder}", "SELECT items"),
        (f"PRAGMA {folder}", "PRAGMA table_info"),
        (f"SELECT {folder}", "SELECT missing"),
        (f"INSERT {folder}", "INSERT items"),
        ("SELECT", "SELECT"),
        (f"SELECT {folder}", "SELECT items"),
    ]
    texts = [
        ((span.attributes or {})["db.query.text"], (new.attributes or {})["db.query.text"])
        for span, new in zip(compared, ours.spans, strict=True)
    ]
    assert [pair for pair in texts if pair[0] != pair[1]] == [
        (
            "/* page */ SELECT id\nFROM items WHERE name = 'two' AND id > 1",
            "SELECT id FROM items WHERE name = ? AND id > ?",
        ),
        ("SELECT 1 FROM missing", "SELECT ? FROM missing"),
        ("INSERT INTO items (id) VALUES (1)", "INSERT INTO items (id) VALUES (?)"),
    ]
