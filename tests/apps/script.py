"""A script with a database, an HTTP request that fails, output on both streams, and an exit code of its own."""

import sqlite3
import sys

import requests

with sqlite3.connect(":memory:") as connection:
    connection.execute("create table t (n integer)")
    connection.executemany("insert into t values (?)", [(number,) for number in range(10)])
    print("sum", connection.execute("select sum(n) from t where n <> 'x'").fetchone()[0])
try:
    requests.get("http://127.0.0.1:9/nothing-listens-here", timeout=2)
except requests.ConnectionError as error:
    print(type(error).__name__, file=sys.stderr)
try:
    connection.execute("select * from missing")
except sqlite3.OperationalError as error:
    print(error, file=sys.stderr)
connection.close()
sys.exit(3)
