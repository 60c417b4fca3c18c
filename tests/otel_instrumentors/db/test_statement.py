"""What is read from SQL statements, as a table, and that it is read in one pass whatever the statement."""

from __future__ import annotations

import pytest

from otel_instrumentors.db import statement
from otel_instrumentors.db.statement import MAX_INPUT, MAX_TEXT, read
from otel_instrumentors.db.summary import MAX_SUMMARY
from otel_instrumentors.db.tokens import dialect, tokens

PG, MY, LITE, MS, ORA = "postgresql", "mysql", "sqlite", "microsoft.sql_server", "oracle.db"

# (system, statement, sanitised text, summary, collection); every literal holds CANARY or 4711.
SAMPLES = [
    (PG, "SELECT * FROM wuser_table WHERE username = 'CANARY'",
     "SELECT * FROM wuser_table WHERE username = ?", "SELECT wuser_table", "wuser_table"),
    (PG, "select a from t where b='it''s CANARY' and c=4711",
     "select a from t where b=? and c=?", "SELECT t", "t"),
    (PG, r"SELECT E'CANARY\' CANARY', x FROM t", "SELECT ?, x FROM t", "SELECT t", "t"),
    (PG, r"SELECT 'C:\' FROM t WHERE a = 'CANARY'", "SELECT ? FROM t WHERE a = ?", "SELECT t", "t"),
    (PG, "SELECT $$CANARY$$, $tag$CANARY $$ CANARY$tag$ FROM t", "SELECT ?, ? FROM t", "SELECT t", "t"),
    (PG, "SELECT N'CANARY', X'4711', B'01', U&'CANARY'", "SELECT ?, ?, ?, ?", "SELECT", None),
    (PG, "SELECT 4711, -4711.5, .4711, 4711e10, 4711E-3, 0x4711, 1_4711 FROM t1",
     "SELECT ?, -?, ?, ?, ?, ?, ? FROM t1", "SELECT t1", "t1"),
    (PG, "SELECT DATE '4711-01-01', timestamp'4711-01-01 10:00', interval '4711 days'",
     "SELECT DATE ?, timestamp?, interval ?", "SELECT", None),
    (PG, "UPDATE t SET a = TRUE, b=false WHERE c IS TRUE", "UPDATE t SET a = ?, b=? WHERE c IS TRUE",
     "UPDATE t", "t"),
    (PG, "SELECT a FROM t WHERE b = $1 AND c = :name AND d = %(name)s AND e = %s AND f = ?",
     "SELECT a FROM t WHERE b = $1 AND c = :name AND d = %(name)s AND e = %s AND f = ?", "SELECT t", "t"),
    (PG, "SELECT '{\"a\": \"CANARY\"}'::jsonb ->> 'CANARY', a::text FROM t",
     "SELECT ?::jsonb ->> ?, a::text FROM t", "SELECT t", "t"),
    (PG, "-- CANARY\nSELECT /* CANARY */ a -- 'CANARY\nFROM t", "SELECT a FROM t", "SELECT t", "t"),
    (PG, "/* a /* CANARY */ CANARY */ SELECT a FROM t", "SELECT a FROM t", "SELECT t", "t"),
    (LITE, "/* a /* CANARY */ SELECT a FROM t", "SELECT a FROM t", "SELECT t", "t"),
    (PG, "SELECT a FROM t WHERE b IN (4711, 'CANARY', NULL, -4711)", "SELECT a FROM t WHERE b IN (?)",
     "SELECT t", "t"),
    (PG, "SELECT a FROM t WHERE b in (%s, %s, %s) and c not in ( ?,? )",
     "SELECT a FROM t WHERE b in (?) and c not in (?)", "SELECT t", "t"),
    (PG, "SELECT a FROM t WHERE b IN ($1::VARCHAR, $2::VARCHAR) AND c IN (%(c_1)s,\n%(c_2)s) AND f($1,\n$2)",
     "SELECT a FROM t WHERE b IN (?) AND c IN (?) AND f($1, $2)", "SELECT t", "t"),
    (PG, "INSERT INTO t (a, b) VALUES (%(a__0)s, %(b__0)s), (%(a__1)s, %(b__1)s)",
     "INSERT INTO t (a, b) VALUES (%(a__0)s, %(b__0)s)", "INSERT t", "t"),
    (PG, "SELECT a FROM t WHERE (b, c) IN ((4711, 'CANARY'), (4711, 'CANARY'))",
     "SELECT a FROM t WHERE (b, c) IN (?)", "SELECT t", "t"),
    (PG, "SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d = 4711)",
     "SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d = ?)", "SELECT t SELECT u", "t"),
    (PG, "SELECT a FROM t WHERE b IN (4711, f(4711))", "SELECT a FROM t WHERE b IN (?, f(?))", "SELECT t", "t"),
    (PG, "INSERT INTO t (a, b) VALUES (4711, 'CANARY')", "INSERT INTO t (a, b) VALUES (?, ?)", "INSERT t", "t"),
    (PG, "INSERT INTO t (a, b) VALUES (4711, 'CANARY'), (4711, 'CANARY') , (4711, now()) RETURNING id",
     "INSERT INTO t (a, b) VALUES (?, ?) RETURNING id", "INSERT t", "t"),
    (MY, "INSERT INTO t VALUES (4711), (4711) ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b)",
     "INSERT INTO t VALUES (?) ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b)", "INSERT t", "t"),
    (PG, "INSERT INTO shipping_details (order_id) SELECT order_id FROM orders WHERE order_id = 4711",
     "INSERT INTO shipping_details (order_id) SELECT order_id FROM orders WHERE order_id = ?",
     "INSERT shipping_details SELECT orders", "shipping_details"),
    (PG, "SELECT * FROM songs, artists WHERE songs.artist_id = artists.id",
     "SELECT * FROM songs, artists WHERE songs.artist_id = artists.id", "SELECT songs artists", "songs"),
    (PG, "SELECT order_date FROM (SELECT * FROM orders o JOIN customers c ON o.customer_id = c.customer_id)",
     "SELECT order_date FROM (SELECT * FROM orders o JOIN customers c ON o.customer_id = c.customer_id)",
     "SELECT SELECT orders customers", "orders"),
    (PG, 'SELECT * FROM "song list", artists', 'SELECT * FROM "song list", artists',
     'SELECT "song list" artists', "song list"),
    (PG, 'select "a""b" from "S"."T" where "c" = \'CANARY\'', 'select "a""b" from "S"."T" where "c" = ?',
     "SELECT S.T", "S.T"),
    (MY, 'SELECT `a` FROM `db`.`t` WHERE b = "CANARY" AND c = "CANARY\\" CANARY" AND d = "CANARY""CANARY"',
     "SELECT `a` FROM `db`.`t` WHERE b = ? AND c = ? AND d = ?", "SELECT db.t", "db.t"),
    (MY, "SELECT a FROM t WHERE b = 'CANARY\\' CANARY' # CANARY", "SELECT a FROM t WHERE b = ?", "SELECT t", "t"),
    (MY, "SELECT a FROM t WHERE b = _utf8mb4'CANARY'", "SELECT a FROM t WHERE b = _utf8mb4?", "SELECT t", "t"),
    (MS, "SELECT TOP 4711 [a b] FROM [dbo].[my t] WHERE c = N'CANARY' AND d = @p1",
     "SELECT TOP ? [a b] FROM [dbo].[my t] WHERE c = ? AND d = @p1", "SELECT [dbo].[my t]", "dbo.my t"),
    (ORA, "SELECT q'[it's CANARY]', nq'!CANARY!' FROM t WHERE a = :1", "SELECT ?, ? FROM t WHERE a = :1",
     "SELECT t", "t"),
    (PG, "SELECT a FROM t WHERE b = 'CANARY", "SELECT a FROM t WHERE b = ?", "SELECT t", "t"),
    (PG, "SELECT a FROM t WHERE b = $x$CANARY 'CANARY'", "SELECT a FROM t WHERE b = ?", "SELECT t", "t"),
    (PG, 'SELECT a FROM "CANARY', "SELECT a FROM ?", "SELECT", None),
    (PG, "SELECT a /* CANARY", "SELECT a ?", "SELECT", None),
    (PG, "COPY t (a, b) FROM STDIN;\n4711\tCANARY\n\\.", "COPY t (a, b) FROM STDIN; ?", "COPY t", "t"),
    (PG, "WITH x AS (SELECT * FROM orders WHERE a = 4711) SELECT * FROM x",
     "WITH x AS (SELECT * FROM orders WHERE a = ?) SELECT * FROM x", "SELECT orders", "orders"),
    (PG, "with recursive x(n) as (select 4711 union select n from x) insert into t select n from x",
     "with recursive x(n) as (select ? union select n from x) insert into t select n from x",
     "INSERT t SELECT", "t"),
    (PG, "WITH gone AS (DELETE FROM t WHERE a = 4711 RETURNING *) SELECT count(*) FROM gone",
     "WITH gone AS (DELETE FROM t WHERE a = ? RETURNING *) SELECT count(*) FROM gone", "SELECT t", "t"),
    (PG, "WITH x AS (SELECT b FROM u) UPDATE t SET a = 4711 FROM x WHERE t.b = x.b",
     "WITH x AS (SELECT b FROM u) UPDATE t SET a = ? FROM x WHERE t.b = x.b", "UPDATE t", "t"),
    (PG, "delete from ONLY s.t where a = 4711", "delete from ONLY s.t where a = ?", "DELETE s.t", "s.t"),
    (LITE, "INSERT OR REPLACE INTO t VALUES (4711)", "INSERT OR REPLACE INTO t VALUES (?)", "INSERT t", "t"),
    (LITE, "REPLACE INTO t (a) VALUES ('CANARY')", "REPLACE INTO t (a) VALUES (?)", "REPLACE t", "t"),
    (LITE, "UPDATE OR IGNORE t SET a = replace(a, 'CANARY', '')", "UPDATE OR IGNORE t SET a = replace(a, ?, ?)",
     "UPDATE t", "t"),
    (MS, "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET b = 4711 WHEN NOT MATCHED THEN DELETE",
     "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET b = ? WHEN NOT MATCHED THEN DELETE",
     "MERGE t s", "t"),
    (PG, "SELECT a FROM t WHERE b IS DISTINCT FROM 4711 FOR UPDATE",
     "SELECT a FROM t WHERE b IS DISTINCT FROM ? FOR UPDATE", "SELECT t", "t"),
    (PG, "SELECT extract(year FROM a), trim(both 'CANARY' from b) FROM generate_series(1, 4711) g, t",
     "SELECT extract(year FROM a), trim(both ? from b) FROM generate_series(?, ?) g, t", "SELECT t", "t"),
    (PG, "(SELECT a FROM t) UNION ALL (SELECT a FROM u LIMIT 4711)",
     "(SELECT a FROM t) UNION ALL (SELECT a FROM u LIMIT ?)", "SELECT t SELECT u", "t"),
    (PG, "SELECT a FROM (t JOIN u USING (id)) LEFT OUTER JOIN LATERAL (SELECT 4711) v ON true",
     "SELECT a FROM (t JOIN u USING (id)) LEFT OUTER JOIN LATERAL (SELECT ?) v ON true", "SELECT t u SELECT", "t"),
    (PG, "CREATE TABLE IF NOT EXISTS s.t (a int DEFAULT 4711, b text DEFAULT 'CANARY')",
     "CREATE TABLE IF NOT EXISTS s.t (a int DEFAULT ?, b text DEFAULT ?)", "CREATE TABLE s.t", "s.t"),
    (PG, "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
     "CREATE INDEX i", None),
    (PG, "CREATE OR REPLACE FUNCTION f() RETURNS int AS $$ SELECT 4711 $$ LANGUAGE sql",
     "CREATE OR REPLACE FUNCTION f() RETURNS int AS ? LANGUAGE sql", "CREATE FUNCTION f", None),
    (PG, "CREATE USER bob PASSWORD 'CANARY'", "CREATE USER bob PASSWORD ?", "CREATE USER bob", None),
    (PG, "drop table if exists t", "drop table if exists t", "DROP TABLE t", "t"),
    (PG, "ALTER TABLE t ADD COLUMN a int DEFAULT 4711", "ALTER TABLE t ADD COLUMN a int DEFAULT ?",
     "ALTER TABLE t", "t"),
    (PG, "TRUNCATE TABLE t", "TRUNCATE TABLE t", "TRUNCATE t", "t"),
    (LITE, "PRAGMA table_info(t)", "PRAGMA table_info(t)", "PRAGMA table_info", None),
    (LITE, 'PRAGMA key = "CANARY"', "PRAGMA key = ?", "PRAGMA key", None),
    (LITE, "ATTACH DATABASE 'CANARY.db' AS x KEY \"CANARY\"", "ATTACH DATABASE ? AS x KEY ?", "ATTACH", None),
    (PG, "BEGIN", "BEGIN", "BEGIN", None),
    (PG, "commit ;", "commit ;", "COMMIT", None),
    (PG, "SAVEPOINT sa_savepoint_1", "SAVEPOINT sa_savepoint_1", "SAVEPOINT", None),
    (PG, "CALL add_user('CANARY', 4711)", "CALL add_user(?, ?)", "CALL add_user", None),
    (PG, "EXPLAIN ANALYZE SELECT a FROM t WHERE b = 4711", "EXPLAIN ANALYZE SELECT a FROM t WHERE b = ?",
     "EXPLAIN ANALYZE SELECT t", "t"),
    (LITE, "EXPLAIN QUERY PLAN SELECT a FROM t", "EXPLAIN QUERY PLAN SELECT a FROM t", "EXPLAIN SELECT t", "t"),
    (LITE, "CREATE TABLE t (a); INSERT INTO t VALUES ('CANARY');", "CREATE TABLE t (a); INSERT INTO t VALUES (?);",
     "CREATE TABLE t INSERT t", "t"),
    (PG, "SELECT größe FROM tür WHERE straße = 'CANARY'", "SELECT größe FROM tür WHERE straße = ?",
     "SELECT tür", "tür"),
    (PG, "", "", "", None),
    (PG, "hello, world 4711", "hello, world ?", "", None),
    (PG, ") 'CANARY' (", ") ? (", "", None),
]  # fmt: skip


@pytest.mark.parametrize(("system", "sql", "text", "summary", "collection"), SAMPLES)
def test_samples(system: str, sql: str, text: str, summary: str, collection: str | None) -> None:
    """Text, summary and first table are these, and no literal survives in any of them."""
    result = read(sql, dialect(system))
    assert (result.text, result.summary, result.collection) == (text, summary, collection)
    assert result.operation == (summary.split()[0] if summary else None)
    for kept in (result.text, result.summary, result.collection or ""):
        assert "CANARY" not in kept
        assert "4711" not in kept


def test_there_are_samples_enough() -> None:
    """The table has the fifty statements the plan asks for."""
    assert len(SAMPLES) >= 50


def test_attributes_hold_what_was_found() -> None:
    """A span gets these attributes, and none for what a statement does not have."""
    assert read("select a from t where b = 1", dialect("sqlite")).attributes == {
        "db.query.text": "select a from t where b = ?",
        "db.query.summary": "SELECT t",
        "db.operation.name": "SELECT",
        "db.collection.name": "t",
    }
    assert read("???", dialect("sqlite")).attributes == {"db.query.text": "???"}


def test_a_repeated_statement_is_read_once() -> None:
    """The same statement gives the same object; another database reads it anew."""
    sql = "SELECT a FROM cached"
    assert read(sql, dialect("sqlite")) is read("".join(sql), dialect("sqlite"))
    assert read(sql, dialect("mysql")) is not read(sql, dialect("sqlite"))


@pytest.mark.parametrize("size", [statement.MAX_INPUT - 20, statement.MAX_INPUT, 10 * statement.MAX_INPUT])
def test_a_long_statement_is_cut(size: int) -> None:
    """Text stays within its limit, and a literal that the cut leaves open is no text."""
    sql = "SELECT a FROM t WHERE b = '" + "CANARY" * (size // 6) + "' AND c = 4711"
    assert "CANARY" not in read(sql, dialect("sqlite")).text
    columns = ", ".join(["column_a"] * (size // 10))
    assert len(read(f"SELECT {columns}", dialect("sqlite")).text) == MAX_TEXT


def test_a_summary_is_cut_between_names() -> None:
    """A summary keeps to the conventions' limit and has no half name."""
    tables = ", ".join(f"table_{i}_x" for i in range(100))
    summary = read(f"SELECT a FROM {tables}", dialect("sqlite")).summary  # noqa: S608  never run
    assert MAX_SUMMARY - 12 < len(summary) <= MAX_SUMMARY
    assert summary.endswith("_x")


@pytest.mark.parametrize(
    "piece",
    [
        "'", "''", "'a''", "\\'", '"', '""', "`", "[", "]", "(", ")", "((", "/*", "*/", "/**/", "--", "$", "$$", "$a$",
        "$a", "E'\\", "q'[", "0x", "1e", "1e+", ".", "..", "1.", ":", "::", ":a", "%", "%(", "%(a", "@", "?", "a.",
        "IN (", "IN (1,", "VALUES (", "VALUES (1),", "(1),", "FROM ", "FROM a,", "WITH a AS (", "SELECT ",
        ";", "é", "\0",
    ],
)  # fmt: skip
@pytest.mark.parametrize("system", [PG, MY, LITE, ORA])
def test_hostile_statements(piece: str, system: str) -> None:
    """Whatever is repeated, every step takes text away from what is left: linear time, and text within its limit."""
    hostile = piece * (MAX_INPUT // len(piece))
    found = list(tokens(hostile, dialect(system)))
    assert sum(len(text) for _, text, _ in found) <= len(hostile) + 1
    assert len(read(hostile, dialect(system)).text) <= MAX_TEXT
