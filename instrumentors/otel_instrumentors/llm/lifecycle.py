"""The one lifecycle of an LLM call: span, measurements, streams and errors of every client and every mode.

An adapter declares an `LLMClient`: what to patch and pure readers. It never says sync, async or stream; that is found
out here, from the function and from its result. The app's call runs exactly once, its value and its exception pass
unchanged, and an operation ends exactly once.
"""

from __future__ import annotations

import functools
import inspect
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode

from .. import patch, semconv
from ..guard import guarded
from ..telemetry import Telemetry
from .model import Call, Request, Response, Usage

COMPLETED, CLOSED_EARLY, CANCELLED, FAILED = "completed", "closed_early", "cancelled", "failed"
MAX_TEXT, MAX_MODEL, MAX_LIST, MAX_MODELS = 1024, 256, 64, 100
INFERENCES = frozenset(("chat", "generate_content", "text_completion"))

telemetry = Telemetry("llm")
_ACTIVE = context_api.create_key("otel_instrumentors.llm")
_SUPPRESS = context_api._SUPPRESS_INSTRUMENTATION_KEY
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_models: set[str] = set()


@dataclass(frozen=True)
class LLMClient:
    """A client library: `methods` maps module names to the paths to patch, each "Class.method".

    A path may be a tuple of alternatives; the first that exists is patched. read_error gives `error.type` of an
    exception, None when the provider said nothing of use.
    """

    name: str
    methods: dict[str, tuple[str | tuple[str, ...], ...]]
    read_request: Callable[[Call], Request]
    read_response: Callable[[Any], Response]
    read_error: Callable[[BaseException], str | None]


def instrument(client: LLMClient, module: ModuleType) -> None:
    """Patch the client's methods of an imported module."""
    for path in client.methods.get(module.__name__, ()):
        names = (path,) if isinstance(path, str) else path
        for name in names:
            if patch.replace(client.name, module, name, functools.partial(_observed, client, name)):
                break


def _observed(client: LLMClient, path: str, original: Any) -> Any:
    """The function that stands for `original`; what kind of function that is decides how it is observed."""
    import wrapt

    from . import streams

    plain = inspect.unwrap(original)
    method = path.rpartition(".")[2]
    lazy = inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)
    asynchronous = inspect.iscoroutinefunction(plain)

    def wrapper(wrapped: Any, instance: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if is_suppressed(client):
            return wrapped(*arguments, **keywords)
        operation = Operation(client, Call(method, instance, arguments, keywords))
        if lazy:
            return streams.observe(wrapped(*arguments, **keywords), operation)
        if asynchronous:
            return _awaited(operation, wrapped, arguments, keywords)
        return _called(operation, wrapped, arguments, keywords)

    return wrapt.FunctionWrapper(original, wrapper)


def _called(operation: Operation, wrapped: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    token = operation.enter()
    try:
        result = wrapped(*arguments, **keywords)
    except BaseException as error:
        leave(token)
        operation.fail(error)
        raise
    leave(token)
    return operation.returned(result)


async def _awaited(operation: Operation, wrapped: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    token = operation.enter()
    try:
        result = await wrapped(*arguments, **keywords)
    except BaseException as error:
        leave(token)
        operation.fail(error)
        raise
    leave(token)
    return operation.returned(result)


def is_suppressed(client: LLMClient) -> bool:
    """Whether instrumentation is off here, or a call of the same client is already being observed."""
    current = context_api.get_current()
    return bool(current.get(_SUPPRESS)) or current.get(_ACTIVE) == client.name


def leave(token: Any) -> None:
    """Detach. A step that was closed in another context has nothing of ours to detach: no message about it."""
    if token is None:
        return
    try:
        context_api._RUNTIME_CONTEXT.detach(token)
    except ValueError:
        pass


class Operation:
    """One call from start to its only end."""

    def __init__(self, client: LLMClient, call: Call) -> None:
        self.client = client
        self.request = Request()
        self.stream: Any = None
        self._call = call
        self._open = [True]
        self._span: trace.Span = trace.INVALID_SPAN
        self._context: Context | None = None
        self._began = 0.0
        self._first_chunk: float | None = None
        self._last_chunk = 0.0
        self._chunks = 0

    def enter(self) -> Any:
        """Start at the first entry; make the operation's context current. Returns the token for `leave`."""
        if self._context is None:
            self._start()
        return None if self._context is None else context_api.attach(self._context)

    @guarded("llm.start")
    def _start(self) -> None:
        self._read_request()
        request = self.request
        attributes: dict[str, Any] = {
            semconv.GEN_AI_OPERATION_NAME: request.operation,
            semconv.GEN_AI_PROVIDER_NAME: request.provider,
            **request.attributes,
        }
        if request.model:
            attributes[semconv.GEN_AI_REQUEST_MODEL] = request.model[:MAX_MODEL]
        if request.host:
            attributes[semconv.SERVER_ADDRESS] = request.host
            if request.port is not None:
                attributes[semconv.SERVER_PORT] = request.port
        name = f"{request.operation} {request.model[:MAX_MODEL]}".rstrip()
        self._began = time.perf_counter()
        self._span = telemetry.tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        current = trace.set_span_in_context(self._span)
        self._context = context_api.set_value(_ACTIVE, self.client.name, current)
        if request.stream:
            self._span.set_attribute(semconv.GEN_AI_REQUEST_STREAM, True)

    @guarded("llm.read_request")
    def _read_request(self) -> None:
        self.request = self.client.read_request(self._call)

    def returned(self, result: Any) -> Any:
        """The call came back: a stream is observed on, anything else ends the operation. Returns what the app gets."""
        from . import streams

        if streams.is_stream(result):
            return streams.observe(result, self)
        self.finish(COMPLETED, self._read(result))
        return result

    @guarded("llm.read_response")
    def _read(self, result: Any) -> Response:
        return self.client.read_response(result)

    def chunk(self) -> None:
        """A chunk of a stream arrived."""
        now = time.perf_counter()
        if self._first_chunk is None:
            self._first_chunk = now
        self._last_chunk = now
        self._chunks += 1

    def fail(self, error: BaseException, response: Response | None = None) -> None:
        """The call or a step of its stream raised. What is no Exception (cancellation, exit) is no failure."""
        if isinstance(error, GeneratorExit):
            self.finish(CLOSED_EARLY, response)
        elif isinstance(error, Exception) and type(error).__name__ != "CancelledError":
            self.finish(FAILED, response, error)
        else:
            self.finish(CANCELLED, response)

    def finish(self, outcome: str, response: Response | None, error: BaseException | None = None) -> None:
        """End, once: a second call does nothing, also from another thread."""
        try:
            self._open.pop()
        except IndexError:
            return
        if self._context is not None:
            self._finish(outcome, response or Response(), error, time.perf_counter() - self._began)

    @guarded("llm.finish")
    def _finish(self, outcome: str, response: Response, error: BaseException | None, duration: float) -> None:
        kind = self._error_type(error) if error is not None else None
        self._measure(response, kind, duration)
        if error is not None and kind is not None:
            self._report(error, kind)
        span = self._span
        if span.is_recording():
            span.set_attributes(_response_attributes(response, outcome))
            if self._first_chunk is not None:
                span.set_attribute(semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, self._first_chunk - self._began)
            if kind is not None:
                span.set_attribute(semconv.ERROR_TYPE, kind)
                span.set_status(Status(StatusCode.ERROR))  # no description: providers' messages echo prompts
        span.end()

    def _error_type(self, error: BaseException) -> str:
        code = guarded("llm.read_error")(self.client.read_error)(error)
        if code is not None and _CODE.match(code):
            return code
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return "timeout"
        return _type_name(type(error))

    def _report(self, error: BaseException, kind: str) -> None:
        """The failure as a log event. No message and no stack: providers echo prompts in theirs."""
        attributes = {
            semconv.GEN_AI_OPERATION_NAME: self.request.operation,
            semconv.GEN_AI_PROVIDER_NAME: self.request.provider,
            semconv.GEN_AI_REQUEST_MODEL: self.request.model[:MAX_MODEL],
            semconv.ERROR_TYPE: kind,
            semconv.EXCEPTION_TYPE: _type_name(type(error)),
        }
        telemetry.warn(semconv.GEN_AI_EXCEPTION_EVENT, attributes, self._context)

    def _measure(self, response: Response, error: str | None, duration: float) -> None:
        request, context = self.request, self._context
        common: dict[str, Any] = {
            semconv.GEN_AI_OPERATION_NAME: request.operation,
            semconv.GEN_AI_PROVIDER_NAME: request.provider,
        }
        if request.model:
            common[semconv.GEN_AI_REQUEST_MODEL] = _bounded(request.model)
        if response.model:
            common[semconv.GEN_AI_RESPONSE_MODEL] = _bounded(response.model)
        if request.host:
            common[semconv.SERVER_ADDRESS] = request.host
            if request.port is not None:
                common[semconv.SERVER_PORT] = request.port
        failed = common if error is None else {**common, semconv.ERROR_TYPE: error}
        if request.operation not in INFERENCES:
            telemetry.histogram(semconv.GEN_AI_OPERATION_DURATION).record(duration, failed, context)
            return
        telemetry.histogram(semconv.GEN_AI_INFERENCE_DURATION).record(duration, failed, context)
        if self._first_chunk is not None:
            first = self._first_chunk - self._began
            telemetry.histogram(semconv.GEN_AI_TIME_TO_FIRST_CHUNK).record(first, common, context)
            if self._chunks > 1:
                gap = (self._last_chunk - self._first_chunk) / (self._chunks - 1)
                telemetry.histogram(semconv.GEN_AI_TIME_PER_OUTPUT_CHUNK).record(gap, common, context)
        _measure_tokens(response.usage, common, failed, context)


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _measure_tokens(usage: Usage, common: dict[str, Any], failed: dict[str, Any], context: Context | None) -> None:
    """Every inference is measured: 0 tokens of unknown modality stand for a reply without usage."""
    totals = (
        (semconv.GEN_AI_INPUT_TOKENS, semconv.GEN_AI_OPERATION_INPUT_TOKENS, usage.input, usage.input_by),
        (semconv.GEN_AI_OUTPUT_TOKENS, semconv.GEN_AI_OPERATION_OUTPUT_TOKENS, usage.output, usage.output_by),
    )
    for counter, histogram, tokens, by in totals:
        for modality, part in _split(tokens, by).items():
            telemetry.counter(counter).add(part, {**common, semconv.GEN_AI_TOKEN_MODALITY: modality}, context)
        telemetry.histogram(histogram).record(tokens or 0, failed, context)
    subsets = (
        (semconv.GEN_AI_CACHE_READ_TOKENS, usage.cache_read, usage.cache_read_by),
        (semconv.GEN_AI_CACHE_WRITE_TOKENS, usage.cache_write, None),
        (semconv.GEN_AI_REASONING_TOKENS, usage.reasoning, None),
    )
    for counter, tokens, by in subsets:
        if tokens is not None:
            for modality, part in _split(tokens, by).items():
                telemetry.counter(counter).add(part, {**common, semconv.GEN_AI_TOKEN_MODALITY: modality}, context)


def _split(tokens: int | None, by: dict[str, int] | None) -> dict[str, int]:
    """A total by modality: what the provider did not break down is text, or unknown when it broke nothing down."""
    if not tokens or not by:
        return {"unknown": tokens or 0}
    parts = {modality: part for modality, part in by.items() if part}
    rest = tokens - sum(parts.values())
    if rest < 0:
        return {"unknown": tokens}
    if rest:
        parts["text"] = parts.get("text", 0) + rest
    return parts


def _response_attributes(response: Response, outcome: str) -> dict[str, Any]:
    usage = response.usage
    attributes: dict[str, Any] = {
        semconv.GEN_AI_RESPONSE_ID: response.id,
        semconv.GEN_AI_RESPONSE_MODEL: response.model,
        semconv.GEN_AI_USAGE_INPUT_TOKENS: usage.input,
        semconv.GEN_AI_USAGE_OUTPUT_TOKENS: usage.output,
        semconv.GEN_AI_USAGE_CACHE_READ: usage.cache_read,
        semconv.GEN_AI_USAGE_CACHE_WRITE: usage.cache_write,
        semconv.GEN_AI_USAGE_REASONING: usage.reasoning,
        semconv.GEN_AI_EMBEDDINGS_BATCH_SIZE: response.batch,
    }
    for direction, by in (
        ("input_tokens", usage.input_by),
        ("output_tokens", usage.output_by),
        ("cache_read.input_tokens", usage.cache_read_by),
    ):
        for modality, part in (by or {}).items():
            if modality != "video":  # no attribute in the conventions
                attributes[semconv.GEN_AI_USAGE_MODALITY.format(modality=modality, direction=direction)] = part
    reasons = [reason[:MAX_TEXT] for _, reason in sorted(response.finish_reasons.items())][:16]
    if reasons:
        attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
    elif outcome == FAILED and not usage.is_empty():
        attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = ["error"]
    if outcome != COMPLETED:
        attributes[semconv.GEN_AI_OUTCOME] = outcome
    return {key: value for key, value in attributes.items() if value is not None}


def _bounded(model: str) -> str:
    """A model name for metrics: after 100 different ones in a process the rest is "other"."""
    if model in _models:
        return model
    if len(_models) >= MAX_MODELS:
        return "other"
    _models.add(model)
    return model[:MAX_MODEL]
