"""What an adapter reads: requests, responses and their token usage, in one normal form for all providers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple


class Call(NamedTuple):
    """One call of a patched method."""

    method: str
    instance: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def argument(self, name: str, position: int | None = None) -> Any:
        """An argument by keyword, else by position, else None."""
        if name in self.keywords:
            return self.keywords[name]
        if position is not None and position < len(self.arguments):
            return self.arguments[position]
        return None


@dataclass
class Request:
    """What is known when a call starts. `attributes` are span attributes; `choices` how many answers are asked for."""

    model: str = ""
    provider: str = ""
    operation: str = "chat"
    attributes: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    choices: int = 1
    host: str = ""
    port: int | None = None


@dataclass
class Usage:
    """Tokens of one operation; None is unknown and never becomes 0.

    Normal form: `input` includes cache_read, cache_write and tool input; `output` includes reasoning. `input_by` and
    the like split a total by modality (text, image, audio, video).
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    input_by: dict[str, int] | None = None
    output_by: dict[str, int] | None = None
    cache_read_by: dict[str, int] | None = None

    def is_empty(self) -> bool:
        """Whether the provider said nothing."""
        return all(getattr(self, one.name) is None for one in fields(self))


@dataclass
class Response:
    """A reply, or a chunk's part of one. `finish_reasons` by choice; `batch`: how many texts were embedded."""

    id: str | None = None
    model: str | None = None
    finish_reasons: dict[int, str] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    batch: int | None = None


def count(value: Any) -> int | None:
    """A token count: a whole number >= 0 (an integral float too), else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if value != value or value < 0 or value != int(value):
        return None
    return int(value)


def total(*parts: int | None) -> int | None:
    """The sum of the known parts; None when none is known."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def fold(parts: Iterable[Response]) -> Response:
    """A stream's chunks as one response: the last known value per field wins; nothing is ever added up."""
    folded = Response()
    for part in parts:
        folded.id = part.id or folded.id
        folded.model = part.model or folded.model
        folded.finish_reasons.update(part.finish_reasons)
        for one in fields(Usage):
            value = getattr(part.usage, one.name)
            if value is not None:
                setattr(folded.usage, one.name, value)
    return folded


def get(thing: Any, name: str) -> Any:
    """A field of an object or of a dictionary, None when it is not there."""
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)
