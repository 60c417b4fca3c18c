"""SQL cut into tokens, in linear time, with the differences between databases that decide where a literal ends."""

from __future__ import annotations

import functools
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Kinds of tokens. A VALUE is a literal, a PARAMETER a place for a bound one, a NAME a quoted identifier.
WORD, NAME, VALUE, PARAMETER, OPEN, CLOSE, COMMA, SEMICOLON, DOT, OTHER = (
    "word",
    "name",
    "value",
    "parameter",
    "open",
    "close",
    "comma",
    "semicolon",
    "dot",
    "other",
)
UNENDED = "unended"  # a literal or comment that does not end: nothing after it is a token

_KINDS = {"(": OPEN, ")": CLOSE, ",": COMMA, ";": SEMICOLON, ".": DOT}

_PATTERN = r"""
  (?P<space>\s+)
| (?P<comment>--[^\n]*{hash_comment})
| (?P<block>/\*)
| (?P<dollar>\$(?:[^\W\d]\w*)?\$)
| (?P<string>(?:[NnEeXxBbRrQq]|[Nn][Qq]|[Uu]&)?')
| (?P<quoted>["`{bracket}])
| (?P<parameter>{item}(?:\s*,\s*{item})*)
| (?P<value>\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?)
| (?P<word>[^\W\d][\w$]*)
| (?P<single>[(),;.])
| (?P<other>::|[=<>!|&*/+~^-]|.)
"""

_ITEM = r"(?:%\(\w+\)s|%s\b|\?\d*|(?<![\w:]):\w+|@@?\w+|\$\d+)(?:::\w+)?"  # a list of them is one token: IN is long

# What is left of a quoted token behind its opening quote. Unrolled loops: one way to match, so no backtracking race.
_ENDS = {quote: re.compile(f"[^{quote}]*(?:{quote}{quote}[^{quote}]*)*{quote}", re.DOTALL) for quote in ("'", '"', "`")}
_ENDS["["] = re.compile(r"[^\]]*(?:\]\][^\]]*)*\]", re.DOTALL)
_ESCAPED_ENDS = {
    quote: re.compile(rf"[^{quote}\\]*(?:(?:\\.|{quote}{quote})[^{quote}\\]*)*{quote}", re.DOTALL)
    for quote in ("'", '"')
}
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_CLOSERS = {"[": "]", "(": ")", "{": "}", "<": ">"}

_BACKSLASH = frozenset(
    ("mysql", "mariadb", "tidb", "singlestoredb", "clickhouse", "databricks", "hive", "snowflake", "gcp.bigquery")
)
_DOUBLE_QUOTED = frozenset(("mysql", "mariadb", "tidb", "singlestoredb", "databricks", "hive", "gcp.bigquery"))
_BRACKETS = frozenset(("microsoft.sql_server", "sqlite"))
_NESTING = frozenset(("postgresql", "cockroachdb", "aws.redshift", "microsoft.sql_server"))
_ORACLE = "oracle.db"


class Dialect:
    """How a database (`system`, a value of db.system.name) writes strings, names and comments.

    backslash: a backslash escapes the next character of every string. double_quoted: "..." is a string.
    brackets: [...] is a name. nesting: block comments nest. q_quotes: q'[...]' is a string.
    """

    __slots__ = ("backslash", "brackets", "double_quoted", "nesting", "pattern", "q_quotes")

    def __init__(self, system: str) -> None:
        self.backslash = system in _BACKSLASH
        self.double_quoted = system in _DOUBLE_QUOTED
        self.brackets = system in _BRACKETS
        self.nesting = system in _NESTING
        self.q_quotes = system == _ORACLE
        pattern = _PATTERN.replace("{item}", _ITEM)
        pattern = pattern.replace("{hash_comment}", r"|\#[^\n]*" if self.double_quoted else "")
        pattern = pattern.replace("{bracket}", r"\[" if self.brackets else "")
        self.pattern = re.compile(pattern, re.VERBOSE | re.DOTALL)


@functools.lru_cache(maxsize=32)
def dialect(system: str) -> Dialect:
    """The one `Dialect` of a db.system.name; systems not known here are read as standard SQL."""
    return Dialect(system)


def tokens(sql: str, dialect: Dialect) -> Iterator[tuple[str, str, bool]]:
    """The tokens of `sql` as (kind, text, whether space or a comment was before it)."""
    match = dialect.pattern.match
    position, length, spaced = 0, len(sql), False
    while position < length:
        found = match(sql, position)
        if found is None:  # cannot be: `other` takes any character
            return
        kind, position = found.lastgroup or OTHER, found.end()
        text = found.group()
        if kind == "space" or kind == "comment":
            spaced = True
            continue
        if kind in _SPANNING:
            position, token = _SPANNING[kind](sql, position, text, dialect)
            if position < 0:
                yield UNENDED, "?", spaced
                return
            if token is None:
                spaced = True
                continue
            kind = token
            text = sql[found.start() : position]
        yield (_KINDS[text] if kind == "single" else _OWN.get(kind, OTHER)), text, spaced
        spaced = False


def _end_of_block(sql: str, position: int, opening: str, dialect: Dialect) -> tuple[int, str | None]:
    if not dialect.nesting:
        end = sql.find("*/", position)
        return (end + 2 if end >= 0 else -1), None
    depth = 1
    for edge in _BLOCK_EDGE.finditer(sql, position):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end(), None
    return -1, None


def _end_of_dollar(sql: str, position: int, opening: str, dialect: Dialect) -> tuple[int, str | None]:
    end = sql.find(opening, position)
    return (end + len(opening) if end >= 0 else -1), VALUE


def _end_of_string(sql: str, position: int, opening: str, dialect: Dialect) -> tuple[int, str | None]:
    prefix = opening[:-1].upper()
    if prefix in ("Q", "NQ") and dialect.q_quotes and position < len(sql):
        closing = _CLOSERS.get(sql[position], sql[position]) + "'"
        end = sql.find(closing, position + 1)
        return (end + 2 if end >= 0 else -1), VALUE
    ends = _ESCAPED_ENDS if dialect.backslash or prefix == "E" else _ENDS
    found = ends["'"].match(sql, position)
    return (found.end() if found else -1), VALUE


def _end_of_quoted(sql: str, position: int, opening: str, dialect: Dialect) -> tuple[int, str | None]:
    literal = opening == '"' and dialect.double_quoted
    ends = _ESCAPED_ENDS if literal and dialect.backslash else _ENDS
    found = ends[opening].match(sql, position)
    return (found.end() if found else -1), VALUE if literal else NAME


_SPANNING = {
    "block": _end_of_block,
    "dollar": _end_of_dollar,
    "string": _end_of_string,
    "quoted": _end_of_quoted,
}
_OWN = {kind: kind for kind in (WORD, NAME, VALUE, PARAMETER, OTHER)}
