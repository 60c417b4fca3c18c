"""Attribute values as the record carries them: plain, bounded, and never able to raise into the app."""

from __future__ import annotations

import msgspec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

PLAIN = frozenset((str, bool, int, float))
MAX_KEY = 255
MAX_NAME = 1024
MAX_DEPTH = 8
MAX_ITEMS = 1000
UNREPRESENTABLE = "<unrepresentable>"


def attributes(given: Mapping[str, Any] | None, count: int, length: int) -> tuple[dict[str, Any], int]:
    """(clean copy with at most `count` items whose texts have at most `length` characters, dropped items)."""
    clean: dict[str, Any] = {}
    if not given:
        return clean, 0
    if given.__class__ is dict and len(given) <= count and _is_plain(given, length):
        return given.copy(), 0
    dropped = 0
    try:
        pairs: Iterable[tuple[Any, Any]] = given.items()
        for key, value in pairs:
            if key.__class__ is not str or not key or value is None:
                continue
            if len(clean) >= count and key not in clean:
                dropped += 1
                continue
            clean[key if len(key) <= MAX_KEY else key[:MAX_KEY]] = one(value, length)
    except Exception:  # noqa: BLE001  the mapping is the app's own class; what it raises is not the app's to see
        dropped += 1
    return clean, dropped


def _is_plain(given: Mapping[Any, Any], length: int) -> bool:
    """Whether nothing needs cleaning: the usual case, checked without building anything."""
    for key, value in given.items():
        if key.__class__ is not str or not 0 < len(key) <= MAX_KEY:
            return False
        kind = value.__class__
        if kind is str:
            if len(value) > length:
                return False
        elif kind not in PLAIN:
            return False
    return True


def one(value: Any, length: int, depth: int = 0) -> Any:
    """`value` as text, bool, number, bytes, or a list or mapping of them; texts cut to `length` characters."""
    kind = value.__class__
    if kind is str:
        return value if len(value) <= length else value[:length]
    if kind in PLAIN or value is None:
        return value
    if depth >= MAX_DEPTH:
        return UNREPRESENTABLE
    if isinstance(value, bool | int | float | str):
        base = next(base for base in (bool, int, float, str) if isinstance(value, base))
        return one(base(value) if base is not str else str.__str__(value), length, depth + 1)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(value, length)
    if isinstance(value, list | tuple | set | frozenset):
        return [one(item, length, depth + 1) for item in list(value)[:MAX_ITEMS]]
    if isinstance(value, dict):
        items = list(value.items())[:MAX_ITEMS]
        return {str(key)[:MAX_KEY]: one(item, length, depth + 1) for key, item in items if isinstance(key, str)}
    return _foreign(value, length)


def _bytes(value: bytes | bytearray | memoryview, length: int) -> str:
    # As upstream's SDK: bytes are text when they are UTF-8.
    try:
        return bytes(value[: length * 4]).decode()[:length]
    except UnicodeDecodeError:
        return UNREPRESENTABLE


def _foreign(value: Any, length: int) -> str:
    # A class of the app's: its name is safe to show, its __str__ may be slow, may raise or may hold secrets.
    name = getattr(type(value), "__qualname__", "object")
    return f"<{name}>"[:length]


def text(value: Any, length: int) -> str:
    """The app's own text of an object (exception messages): its `__str__`, guarded."""
    try:
        return str(value)[:length]
    except Exception:  # noqa: BLE001  __str__ is the app's code
        return UNREPRESENTABLE


def encodable(record: Any) -> Any:
    """A copy of a record, or value, that MessagePack can carry: no lone surrogate, no integer beyond 64 bits."""
    return _encodable(record, 0)


def _encodable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, bool | bytes | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value) if abs(value) < 2**512 else UNREPRESENTABLE
    if depth > MAX_DEPTH * 2:
        return UNREPRESENTABLE
    if isinstance(value, msgspec.Struct):
        fields = {name: _encodable(getattr(value, name), depth + 1) for name in value.__struct_fields__}
        return type(value)(**fields)
    if isinstance(value, list):
        return [_encodable(item, depth + 1) for item in value]
    if isinstance(value, tuple):
        return tuple(_encodable(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return {str(_encodable(key, depth + 1)): _encodable(item, depth + 1) for key, item in value.items()}
    return UNREPRESENTABLE
