"""google-genai, for the Gemini API and Vertex AI.

The public `generate_content` may make several requests (automatic function calling); the inner methods patched here
make exactly one each. Usage is cumulative on every chunk and its candidates count leaves the thoughts out.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from .. import semconv
from . import lifecycle
from .model import Call, Request, Response, Usage, count, get, total

LIBRARY = "google-genai"
MODALITIES = {"TEXT": "text", "IMAGE": "image", "DOCUMENT": "image", "AUDIO": "audio", "VIDEO": "video"}
OUTPUTS = {"IMAGE": "image", "AUDIO": "speech", "TEXT": "text"}
SETTINGS = {
    semconv.GEN_AI_REQUEST_TEMPERATURE: "temperature",
    semconv.GEN_AI_REQUEST_TOP_P: "top_p",
    semconv.GEN_AI_REQUEST_TOP_K: "top_k",
    semconv.GEN_AI_REQUEST_MAX_TOKENS: "max_output_tokens",
    semconv.GEN_AI_REQUEST_SEED: "seed",
    semconv.GEN_AI_REQUEST_PRESENCE_PENALTY: "presence_penalty",
    semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY: "frequency_penalty",
}


def read_request(call: Call) -> Request:
    """Model, host and generation settings."""
    config = call.argument("config")
    model = str(call.argument("model") or "").removeprefix("models/")
    api = getattr(call.instance, "_api_client", None)
    address = urlsplit(str(get(getattr(api, "_http_options", None), "base_url") or ""))
    embeds = "embed" in call.method
    choices = get(config, "candidate_count") or 1
    attributes = {} if embeds or config is None else _settings(config)
    if choices != 1:
        attributes[semconv.GEN_AI_REQUEST_CHOICE_COUNT] = choices
    return Request(
        model=model,
        provider="gcp.vertex_ai" if getattr(api, "vertexai", False) else "gcp.gemini",
        operation="embeddings" if embeds else "generate_content",
        attributes=attributes,
        stream="stream" in call.method,
        choices=choices,
        host=address.hostname or "",
        port=address.port or {"http": 80, "https": 443}.get(address.scheme),
    )


def _settings(config: Any) -> dict[str, Any]:
    attributes = {name: value for name, key in SETTINGS.items() if (value := get(config, key)) is not None}
    if semconv.GEN_AI_REQUEST_TOP_K in attributes:
        attributes[semconv.GEN_AI_REQUEST_TOP_K] = int(attributes[semconv.GEN_AI_REQUEST_TOP_K])
    stops = get(config, "stop_sequences")
    if stops:
        attributes[semconv.GEN_AI_REQUEST_STOP_SEQUENCES] = [str(stop) for stop in stops][: lifecycle.MAX_LIST]
    level = _word(get(get(config, "thinking_config"), "thinking_level"))
    if level:
        attributes[semconv.GEN_AI_REQUEST_REASONING_LEVEL] = level.lower()
    if get(config, "response_mime_type") == "application/json":
        attributes[semconv.GEN_AI_OUTPUT_TYPE] = "json"
    else:
        wanted = [_word(modality) for modality in get(config, "response_modalities") or ()]
        kinds = [kind for word, kind in OUTPUTS.items() if word in wanted]
        if kinds:
            attributes[semconv.GEN_AI_OUTPUT_TYPE] = kinds[0]
    return attributes


def _word(value: Any) -> str:
    """An enumeration's word, whether it is an enum, a string or nothing."""
    return str(getattr(value, "value", value) or "").upper()


def read_response(reply: Any) -> Response:
    """A reply or a chunk of one; an embeddings reply too."""
    if hasattr(reply, "embeddings"):
        return _embeddings(reply)
    reasons: dict[int, str] = {}
    for position, candidate in enumerate(get(reply, "candidates") or ()):
        reason = _word(get(candidate, "finish_reason"))
        if reason:
            reasons[get(candidate, "index") or position] = reason.lower()
    blocked = _word(get(get(reply, "prompt_feedback"), "block_reason"))
    if blocked and not reasons:
        reasons[0] = blocked.lower()
    return Response(
        id=get(reply, "response_id"),
        model=get(reply, "model_version"),
        finish_reasons=reasons,
        usage=_usage(get(reply, "usage_metadata")),
    )


def _usage(given: Any) -> Usage:
    if given is None:
        return Usage()
    prompt, tools = count(get(given, "prompt_token_count")), count(get(given, "tool_use_prompt_token_count"))
    answer, thoughts = count(get(given, "candidates_token_count")), count(get(given, "thoughts_token_count"))
    output = total(answer, thoughts)
    everything = count(get(given, "total_token_count"))
    if thoughts is None and everything is not None and prompt is not None:
        # Older protocols have no field for thoughts; the total includes them.
        rest = everything - prompt - (tools or 0)
        output = rest if rest > (answer or 0) else output
    return Usage(
        input=total(prompt, tools),
        output=output,
        cache_read=count(get(given, "cached_content_token_count")),
        reasoning=thoughts,
        input_by=_by(get(given, "prompt_tokens_details"), get(given, "tool_use_prompt_tokens_details")),
        output_by=_by(get(given, "candidates_tokens_details")),
        cache_read_by=_by(get(given, "cache_tokens_details")),
    )


def _by(*lists: Any) -> dict[str, int] | None:
    parts: dict[str, int] = {}
    for details in lists:
        for detail in details or ():
            modality, tokens = MODALITIES.get(_word(get(detail, "modality"))), count(get(detail, "token_count"))
            if modality is not None and tokens is not None:
                parts[modality] = parts.get(modality, 0) + tokens
    return parts or None


def _embeddings(reply: Any) -> Response:
    vectors = get(reply, "embeddings") or ()
    tokens = count(get(get(reply, "usage_metadata"), "prompt_token_count"))
    if tokens is None:
        tokens = total(*(count(get(get(vector, "statistics"), "token_count")) for vector in vectors))
    return Response(usage=Usage(input=tokens), batch=len(vectors))


def read_error(error: BaseException) -> str | None:
    """The API's status word, such as RESOURCE_EXHAUSTED, else its HTTP code."""
    code = getattr(error, "status", None) or getattr(error, "code", None)
    return str(code) if isinstance(code, str | int) else None


CLIENT = lifecycle.LLMClient(
    name=LIBRARY,
    methods={
        "google.genai.models": tuple(
            path
            for cls in ("Models", "AsyncModels")
            for path in (
                (f"{cls}._generate_content", f"{cls}.generate_content"),
                (f"{cls}._generate_content_stream", f"{cls}.generate_content_stream"),
                f"{cls}.embed_content",
            )
        )
    },
    read_request=read_request,
    read_response=read_response,
    read_error=read_error,
)


def instrument(module: ModuleType) -> None:
    """Patch `google.genai.models`."""
    lifecycle.instrument(CLIENT, module)
