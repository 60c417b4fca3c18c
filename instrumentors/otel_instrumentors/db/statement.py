"""What a span may say about an SQL statement: its text without literals, its summary, operation and first table.

One pass over the tokens feeds two readers: `_Text` writes the sanitised text, `_Summary` finds operations and tables.
The result is cached by statement, so a statement that the app runs again costs one dictionary hit.

The rules: string, dollar-quoted, number, hex and date literals, booleans after `=`, and everything after a literal
that does not end become `?`; comments go; `IN (?, ?)` becomes `IN (?)`, repeated rows of VALUES become one. Double
quotes are names except where the database reads them as strings.
"""

from __future__ import annotations

import functools
from typing import Any

from .. import semconv
from .summary import Summary
from .tokens import CLOSE, COMMA, NAME, OPEN, PARAMETER, UNENDED, VALUE, WORD, Dialect, tokens

MAX_INPUT = 16 * 1024  # characters read of a statement
MAX_TEXT = 8 * 1024  # characters kept of its text
_SHORT = 1024  # characters; longer statements have a smaller cache of their own, so that memory stays bounded
_SECRET_NAMES = ("PRAGMA", "ATTACH")  # PRAGMA key="..." is how SQLCipher's manual writes a pass phrase
_CONSTANTS = frozenset(("NULL", "TRUE", "FALSE"))


class Statement:
    """What was read from one SQL statement.

    text: the sanitised statement. summary: db.query.summary, "" when the statement is not understood. operation,
    collection: the first operation (upper case) and the first table, if any. attributes: all of it, for a span.
    """

    __slots__ = ("attributes", "collection", "operation", "summary", "text")

    def __init__(self, text: str, summary: str, operation: str | None, collection: str | None) -> None:
        self.text = text
        self.summary = summary
        self.operation = operation
        self.collection = collection
        attributes: dict[str, Any] = {semconv.DB_QUERY_TEXT: text}
        if summary:
            attributes[semconv.DB_QUERY_SUMMARY] = summary
        if operation:
            attributes[semconv.DB_OPERATION_NAME] = operation
        if collection:
            attributes[semconv.DB_COLLECTION_NAME] = collection
        self.attributes = attributes


def read(sql: str, dialect: Dialect) -> Statement:
    """The `Statement` of `sql`; the same object for the same statement while it stays in the cache."""
    if len(sql) <= _SHORT:
        return _read_short(sql, dialect)
    return _read_long(sql[:MAX_INPUT], dialect)


def _read(sql: str, dialect: Dialect) -> Statement:
    text, summary = _Text(), Summary()
    for kind, value, spaced in tokens(sql, dialect):
        if kind is NAME and value[0] == '"' and summary.operation in _SECRET_NAMES:
            kind = VALUE
        text.add(kind, value, spaced)
        if summary.add(kind, value):
            text.add(UNENDED, "?", True)
            break
    summary.end()
    return Statement(text.result()[:MAX_TEXT], summary.text(), summary.operation, summary.collection)


_read_short = functools.lru_cache(maxsize=1024)(_read)
_read_long = functools.lru_cache(maxsize=64)(_read)


class _Level:
    """One open parenthesis of the text: what it holds, and the rows of a VALUES in it."""

    __slots__ = ("extra", "filled", "listed", "plain", "rows", "rows_end", "start")

    def __init__(self, start: int, listed: bool = False, extra: int | None = None) -> None:
        self.start = start  # index of the first part inside
        self.listed = listed  # opened by IN
        self.extra = extra  # a further row of VALUES: cut the text back to this part when it closes
        self.plain = True  # only values, parameters and commas so far
        self.filled = False
        self.rows = 0  # 1 after VALUES, 2 after a row, 3 after a row and a comma
        self.rows_end = 0


class _Text:
    """Writes the sanitised text."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._levels = [_Level(0)]
        self._word = ""  # the last token, if it was a word; upper case
        self._equals = False  # the last token ended with =

    def add(self, kind: str, value: str, spaced: bool) -> None:
        """Write one token."""
        if spaced and self._parts:
            self._parts.append(" ")
        if kind is OPEN:
            self._open()
        elif kind is CLOSE:
            self._close()
        elif kind is WORD:
            self._add_word(value)
            return
        else:
            self._add_other(kind, value)
        self._word = ""
        self._equals = value.endswith("=")

    def result(self) -> str:
        """The text so far."""
        return "".join(self._parts)

    def _open(self) -> None:
        level = self._levels[-1]
        extra = level.rows_end if level.rows == 3 else None
        self._parts.append("(")
        self._levels.append(_Level(len(self._parts), self._word == "IN", extra))

    def _close(self) -> None:
        if len(self._levels) == 1:
            self._parts.append(")")
            return
        level = self._levels.pop()
        outer = self._levels[-1]
        outer.plain &= level.plain
        outer.filled |= level.filled
        if level.extra is not None:
            del self._parts[level.extra :]
            outer.rows = 2
            return
        if level.listed and level.plain and level.filled:
            self._parts[level.start :] = ["?"]
        self._parts.append(")")
        outer.rows = 2 if outer.rows == 1 else 0
        outer.rows_end = len(self._parts)

    def _add_word(self, value: str) -> None:
        level = self._levels[-1]
        word = value.upper()
        constant = word in _CONSTANTS
        if constant:
            level.filled = True
        else:
            level.plain = False
        self._parts.append("?" if constant and self._equals and word != "NULL" else value)
        level.rows = 1 if word in ("VALUES", "VALUE") else 0
        self._word = word
        self._equals = False

    def _add_other(self, kind: str, value: str) -> None:
        level = self._levels[-1]
        if kind is VALUE or kind is UNENDED:
            self._parts.append("?")
            level.filled = True
        elif kind is PARAMETER:
            self._parts.append(" ".join(value.split()))
            level.filled = True
        else:
            self._parts.append(value)
        if kind is COMMA:
            level.rows = 3 if level.rows >= 2 else 0
            return
        elif kind is NAME:
            level.plain = False
        level.rows = 0
