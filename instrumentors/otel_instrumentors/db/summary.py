"""The operations and tables of an SQL statement, read from its tokens: `SELECT songs artists`.

It follows "Generating a summary of the query text" of the database conventions
(https://opentelemetry.io/docs/specs/semconv/database/database-spans/), with two choices of ours: names lose their
quotes when they need none, and the body of a CTE is named only by the tables it adds to a statement without own ones.
"""

from __future__ import annotations

from .tokens import CLOSE, COMMA, DOT, NAME, OPEN, SEMICOLON, WORD

MAX_SUMMARY = 255  # characters, the conventions' own limit


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NONE = _words("")
_CONFLICT = "OR IGNORE REPLACE ABORT FAIL ROLLBACK LOW_PRIORITY HIGH_PRIORITY DELAYED"
# Operations that are followed by the name of a table; the words that may stand between.
_TABLE_AFTER = {
    "INSERT": _words(f"INTO OVERWRITE TABLE {_CONFLICT}"),
    "REPLACE": _words(f"INTO {_CONFLICT}"),
    "MERGE": _words("INTO"),
    "UPDATE": _words(f"ONLY {_CONFLICT}"),
    "TRUNCATE": _words("TABLE ONLY"),
    "LOCK": _words("TABLE TABLES ONLY"),
    "COPY": _words("INTO BINARY"),
}
# Operations that are followed by another name.
_NAME_AFTER = {"CALL": _NONE, "EXEC": _NONE, "EXECUTE": _words("PROCEDURE IMMEDIATE"), "PRAGMA": _NONE}
_OBJECTS = _words("CREATE DROP ALTER")
_BEFORE_OBJECT = _words(
    "OR REPLACE TEMP TEMPORARY UNIQUE UNLOGGED GLOBAL LOCAL VIRTUAL MATERIALIZED EXTERNAL FOREIGN FULLTEXT SPATIAL "
    "CLUSTERED NONCLUSTERED RECURSIVE CONSTRAINT EVENT"
)
_BEFORE_NAME = _words("IF NOT EXISTS CONCURRENTLY ONLY")
_OTHERS = _words(
    "SELECT DELETE VALUES BEGIN START COMMIT END ROLLBACK ABORT SAVEPOINT RELEASE SET RESET SHOW USE EXPLAIN DESCRIBE "
    "DESC ANALYZE VACUUM REINDEX CLUSTER OPTIMIZE CHECKPOINT ATTACH DETACH GRANT REVOKE COMMENT DECLARE FETCH CLOSE "
    "PREPARE DEALLOCATE LISTEN NOTIFY UNLISTEN DISCARD REFRESH REASSIGN DO HANDLER LOAD UNLOAD KILL FLUSH TABLE UNLOCK "
    "RENAME IMPORT WAITFOR PRINT BACKUP RESTORE"
)
_OPERATIONS = frozenset((*_TABLE_AFTER, *_NAME_AFTER, *_OBJECTS, *_OTHERS))
_AFTER_WITH = _words("SELECT INSERT UPDATE DELETE MERGE REPLACE VALUES TABLE")
_END_OF_FROM = _words(
    "WHERE ON GROUP ORDER HAVING LIMIT UNION SET WINDOW RETURNING VALUES FETCH OFFSET FOR EXCEPT INTERSECT QUALIFY"
)
_BEFORE_TABLE = _words("ONLY LATERAL TABLE")
_WITH_TABLES = _words("TABLE VIEW")


class _Scope:
    """One level of parentheses: whether it holds a statement, and whether its FROM list goes on."""

    __slots__ = ("listing", "statement")

    def __init__(self, statement: bool = False) -> None:
        self.statement = statement
        self.listing = statement


class Summary:
    """Collects while tokens are added. `operation` and `collection` are the first ones, None if there is none."""

    def __init__(self) -> None:
        self.operation: str | None = None
        self.collection: str | None = None
        self._parts: list[str] = []
        self._aside: list[tuple[str, str]] = []  # (spoken, name) of tables in the bodies of CTEs
        self._expressions: set[str] = set()  # names of CTEs, lower case
        self._scopes = [_Scope()]
        self._fresh = True  # at the start of a statement
        self._with = False  # in the list of CTEs
        self._object = False  # CREATE, DROP, ALTER: the next word says what
        self._skip: frozenset[str] | None = None  # a name is next, maybe after these words
        self._named_table = True  # that name is a table's
        self._invoked = False  # that name may be followed by a parenthesis
        self._name: list[str] = []  # the name being read, raw, with its dots
        self._last = ""

    def add(self, kind: str, value: str) -> bool:
        """Read one token. True when no SQL but data follows (COPY ... FROM STDIN)."""
        if self._name:
            if kind is DOT or ((kind is WORD or kind is NAME) and self._name[-1] == "."):
                self._name.append(value)
                return False
            self._end_name(kind is OPEN)
        if kind is WORD:
            self._add_word(value, value.upper())
            return False
        self._add_other(kind, value)
        last, self._last = self._last, ""
        return kind is SEMICOLON and last == "STDIN" and self.operation == "COPY"

    def end(self) -> None:
        """No more tokens."""
        if self._name:
            self._end_name(False)
        if self._aside and (self.collection is None or len(self._parts) < 2):
            for spoken, name in self._aside:
                if self.collection is None:
                    self.collection = name
                self._parts.append(spoken)

    def text(self) -> str:
        """db.query.summary, cut between two names; "" when no operation is known."""
        if self.operation is None:
            return ""
        result = self.operation
        for part in self._parts[1:]:
            if len(result) + 1 + len(part) > MAX_SUMMARY:
                break
            result = f"{result} {part}"
        return result

    def _add_word(self, value: str, word: str) -> None:
        scope = self._scopes[-1]
        if self._skip is not None and word == "SELECT":
            self._skip = None
        if self._skip is not None:
            if word not in self._skip:
                self._name = [value]
                self._skip = None
        elif self._object:
            if word not in _BEFORE_OBJECT:
                self._object = False
                self._parts.append(word)
                self._expect(_BEFORE_NAME, word in _WITH_TABLES, True)
        elif self._with and len(self._scopes) == 1:
            if word in _AFTER_WITH:
                self._with = False
                self._begin(word)
            else:
                self._expressions.add(value.lower())
        elif self._fresh:
            self._start(word)
        else:
            self._continue(scope, word)
        self._last = word

    def _start(self, word: str) -> None:
        if word == "WITH":
            self._fresh, self._with = False, True
        elif word in _OPERATIONS:
            self._begin(word)
            self._fresh = word == "EXPLAIN"
        elif self.operation != "EXPLAIN":
            self._fresh = False

    def _begin(self, word: str) -> None:
        """The operation of a statement."""
        self._fresh = False
        self.operation = self.operation or word
        self._parts.append(word)
        scope = self._scopes[-1]
        scope.statement, scope.listing = True, False
        if word in _TABLE_AFTER:
            self._expect(_TABLE_AFTER[word], True, True)
        elif word in _NAME_AFTER:
            self._expect(_NAME_AFTER[word], False, True)
        elif word in _OBJECTS:
            self._object = True

    def _continue(self, scope: _Scope, word: str) -> None:
        """A word inside a statement."""
        if word == "SELECT":
            scope.statement, scope.listing = True, False
            if not self._with and self.operation is not None:
                self._parts.append(word)
        elif not scope.statement:
            if self._with and (word == "DELETE" or word in _TABLE_AFTER):
                scope.statement = True
                if word != "DELETE":
                    self._expect(_TABLE_AFTER[word], True, True)
        elif (word == "FROM" and self._last != "DISTINCT" and self.operation != "COPY") or word == "JOIN":
            scope.listing = True
            self._expect(_BEFORE_TABLE, True)
        elif word == "USING" and self.operation in ("MERGE", "DELETE") and scope is self._scopes[0]:
            self._expect(_BEFORE_TABLE, True)
        elif word in _END_OF_FROM:
            scope.listing = False

    def _add_other(self, kind: str, value: str) -> None:
        scopes = self._scopes
        if kind is OPEN:
            scopes.append(_Scope(self._skip is not None))
            return
        if kind is NAME and self._skip is not None:
            self._name = [value]
            self._skip = None
            return
        self._skip = None
        if kind is CLOSE:
            if len(scopes) > 1:
                scopes.pop()
        elif kind is COMMA and scopes[-1].listing:
            self._expect(_BEFORE_TABLE, True)
        elif kind is SEMICOLON and len(scopes) == 1:
            self._fresh, self._with, self._object = True, False, False
            scopes[0] = _Scope()
        elif kind is NAME and self._with and len(scopes) == 1:
            self._expressions.add(value[1:-1].lower())

    def _expect(self, skip: frozenset[str], table: bool, invoked: bool = False) -> None:
        self._skip, self._named_table, self._invoked = skip, table, invoked

    def _end_name(self, invoked: bool) -> None:
        """The name is complete; `invoked` when a parenthesis follows, which makes it a function after FROM."""
        raw, self._name = self._name, []
        plain = "".join(part[1:-1] if part[0] in '"`[' else part for part in raw)
        if (invoked and not self._invoked and self._named_table) or plain.lower() in self._expressions:
            return
        spoken = plain if plain.replace(".", "_").isidentifier() else "".join(raw)
        if self._with:
            self._aside.append((spoken, plain))
            return
        self._parts.append(spoken)
        if self._named_table and self.collection is None:
            self.collection = plain
