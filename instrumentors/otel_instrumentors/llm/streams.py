"""Streams of an LLM call: the app's own object behind a proxy that watches each step.

The operation's context is current during a step and never between steps. The first two and the last four chunks are
kept and read when the stream ends; with several choices every chunk is read. Dropping the stream ends the operation.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import wrapt

from ..guard import guarded
from .lifecycle import CLOSED_EARLY, COMPLETED, leave
from .model import Response, fold

if TYPE_CHECKING:
    from .lifecycle import Operation

    Proxy = wrapt.ObjectProxy[Any]
else:
    Proxy = wrapt.ObjectProxy  # not subscriptable before wrapt 2

HEAD, TAIL = 2, 4


def is_stream(result: Any) -> bool:
    """Whether a result yields chunks: an iterator of either kind, not a container."""
    kind = type(result)
    return hasattr(kind, "__next__") or hasattr(kind, "__anext__")


def observe(stream: Any, operation: Operation) -> Any:
    """The stream behind the proxy of its kind."""
    operation.request.stream = True
    cls = AsyncStream if hasattr(type(stream), "__anext__") else Stream
    return cls(stream, Chunks(operation))


class Chunks:
    """What is kept of a stream, and its end."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self._head: list[Any] = []
        self._tail: deque[Any] = deque(maxlen=TAIL)
        self._folded: Response | None = None

    def add(self, chunk: Any) -> None:
        """A chunk arrived."""
        self.operation.chunk()
        if self.operation.request.choices > 1:
            self._fold_now(chunk)
        elif len(self._head) < HEAD:
            self._head.append(chunk)
        else:
            self._tail.append(chunk)

    @guarded("llm.read_chunk")
    def _fold_now(self, chunk: Any) -> None:
        part = self.operation.client.read_response(chunk)
        self._folded = fold([self._folded, part]) if self._folded is not None else part

    @guarded("llm.read_chunk")
    def _fold(self) -> Response:
        if self._folded is not None:
            return self._folded
        read = self.operation.client.read_response
        return fold(read(chunk) for chunk in (*self._head, *self._tail))

    def end(self, outcome: str) -> None:
        """The stream ended without an exception."""
        self.operation.finish(outcome, self._fold())

    def fail(self, error: BaseException) -> None:
        """A step raised."""
        self.operation.fail(error, self._fold())


class Stream(Proxy):
    """An iterator of chunks."""

    def __init__(self, stream: Any, chunks: Chunks) -> None:
        super().__init__(stream)
        self._self_chunks = chunks

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        chunks = self._self_chunks
        token = chunks.operation.enter()
        try:
            chunk = next(self.__wrapped__)
        except StopIteration:
            leave(token)
            chunks.end(COMPLETED)
            raise
        except BaseException as error:
            leave(token)
            chunks.fail(error)
            raise
        leave(token)
        chunks.add(chunk)
        return chunk

    def close(self) -> Any:
        """Close the app's stream; ending early is no error."""
        try:
            return self.__wrapped__.close()
        finally:
            self._self_chunks.end(CLOSED_EARLY)

    def __enter__(self) -> Any:
        entered = self.__wrapped__.__enter__()
        return self if entered is self.__wrapped__ else entered

    def __exit__(self, *details: Any) -> Any:
        try:
            return self.__wrapped__.__exit__(*details)
        finally:
            self._self_chunks.end(CLOSED_EARLY)

    def __del__(self) -> None:
        _dropped(self)


class AsyncStream(Proxy):
    """An asynchronous iterator of chunks."""

    def __init__(self, stream: Any, chunks: Chunks) -> None:
        super().__init__(stream)
        self._self_chunks = chunks

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        chunks = self._self_chunks
        token = chunks.operation.enter()
        try:
            chunk = await self.__wrapped__.__anext__()
        except StopAsyncIteration:
            leave(token)
            chunks.end(COMPLETED)
            raise
        except BaseException as error:
            leave(token)
            chunks.fail(error)
            raise
        leave(token)
        chunks.add(chunk)
        return chunk

    async def aclose(self) -> Any:
        """Close the app's stream; ending early is no error."""
        try:
            return await self.__wrapped__.aclose()
        finally:
            self._self_chunks.end(CLOSED_EARLY)

    async def __aenter__(self) -> Any:
        entered = await self.__wrapped__.__aenter__()
        return self if entered is self.__wrapped__ else entered

    async def __aexit__(self, *details: Any) -> Any:
        try:
            return await self.__wrapped__.__aexit__(*details)
        finally:
            self._self_chunks.end(CLOSED_EARLY)

    def __del__(self) -> None:
        _dropped(self)


def _dropped(stream: Any) -> None:
    chunks = getattr(stream, "_self_chunks", None)
    if chunks is not None:
        chunks.end(CLOSED_EARLY)
