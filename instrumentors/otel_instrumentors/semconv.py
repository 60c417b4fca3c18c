"""Every telemetry name the instrumentors emit, in one place.

Attributes and instruments follow the OpenTelemetry semantic conventions: HTTP and database stable ones
(https://opentelemetry.io/schemas/1.37.0), GenAI from the `semantic-conventions-genai` repository (development). Pure
data: the hub imports this module for its metric tables and nothing else from this package.
"""

from __future__ import annotations

from typing import NamedTuple

SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"


class Instrument(NamedTuple):
    """One metric: `kind` is histogram, counter or updowncounter; `unit` is UCUM; `alias` is its earlier name."""

    name: str
    kind: str
    unit: str
    description: str
    buckets: tuple[float, ...] | None = None
    alias: str | None = None
    alias_attributes: tuple[tuple[str, str], ...] = ()


SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
DB_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
BYTES = (256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0)
ROWS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
GEN_AI_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
GEN_AI_TOKENS = tuple(float(4**power) for power in range(14))

# Attributes
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
CLIENT_ADDRESS = "client.address"
NETWORK_PEER_ADDRESS = "network.peer.address"
NETWORK_PEER_PORT = "network.peer.port"
NETWORK_PROTOCOL_VERSION = "network.protocol.version"
USER_AGENT_ORIGINAL = "user_agent.original"

HTTP_REQUEST_METHOD = "http.request.method"
HTTP_REQUEST_METHOD_ORIGINAL = "http.request.method_original"
HTTP_RESPONSE_STATUS_CODE = "http.response.status_code"
HTTP_ROUTE = "http.route"
HTTP_REQUEST_RESEND_COUNT = "http.request.resend_count"
URL_FULL = "url.full"
URL_PATH = "url.path"
URL_QUERY = "url.query"
URL_SCHEME = "url.scheme"
HTTP_METHODS = frozenset(("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"))
OTHER_METHOD = "_OTHER"

DB_SYSTEM_NAME = "db.system.name"
DB_NAMESPACE = "db.namespace"
DB_OPERATION_NAME = "db.operation.name"
DB_COLLECTION_NAME = "db.collection.name"
DB_QUERY_TEXT = "db.query.text"
DB_QUERY_SUMMARY = "db.query.summary"
DB_RESPONSE_STATUS_CODE = "db.response.status_code"
DB_POOL_NAME = "db.client.connection.pool.name"
DB_POOL_STATE = "db.client.connection.state"

# HTTP and database instruments
HTTP_SERVER_REQUEST_DURATION = Instrument(
    "http.server.request.duration", "histogram", "s", "Duration of HTTP server requests.", SECONDS
)
HTTP_SERVER_ACTIVE_REQUESTS = Instrument(
    "http.server.active_requests", "updowncounter", "{request}", "HTTP server requests in flight."
)
HTTP_SERVER_REQUEST_BODY_SIZE = Instrument(
    "http.server.request.body.size", "histogram", "By", "Size of HTTP server request bodies.", BYTES
)
HTTP_SERVER_RESPONSE_BODY_SIZE = Instrument(
    "http.server.response.body.size", "histogram", "By", "Size of HTTP server response bodies.", BYTES
)
HTTP_CLIENT_REQUEST_DURATION = Instrument(
    "http.client.request.duration", "histogram", "s", "Duration of HTTP client requests.", SECONDS
)
DB_CLIENT_OPERATION_DURATION = Instrument(
    "db.client.operation.duration", "histogram", "s", "Duration of database client operations.", DB_SECONDS
)

# GenAI attributes
GEN_AI_OPERATION_NAME = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_REQUEST_STREAM = "gen_ai.request.stream"
GEN_AI_REQUEST_CHOICE_COUNT = "gen_ai.request.choice.count"
GEN_AI_REQUEST_SEED = "gen_ai.request.seed"
GEN_AI_REQUEST_TOP_K = "gen_ai.request.top_k"
GEN_AI_REQUEST_TOP_P = "gen_ai.request.top_p"
GEN_AI_REQUEST_TEMPERATURE = "gen_ai.request.temperature"
GEN_AI_REQUEST_FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty"
GEN_AI_REQUEST_PRESENCE_PENALTY = "gen_ai.request.presence_penalty"
GEN_AI_REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
GEN_AI_REQUEST_STOP_SEQUENCES = "gen_ai.request.stop_sequences"
GEN_AI_REQUEST_REASONING_LEVEL = "gen_ai.request.reasoning.level"
GEN_AI_OUTPUT_TYPE = "gen_ai.output.type"
GEN_AI_RESPONSE_ID = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
GEN_AI_USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens"
GEN_AI_USAGE_REASONING = "gen_ai.usage.reasoning.output_tokens"
GEN_AI_USAGE_MODALITY = "gen_ai.usage.{modality}.{direction}"  # text, image, audio; input_tokens and the like
GEN_AI_TOKEN_MODALITY = "gen_ai.token.modality"
GEN_AI_TOKEN_TYPE = "gen_ai.token.type"
GEN_AI_EMBEDDINGS_BATCH_SIZE = "otel_agent.gen_ai.embeddings.batch_size"
GEN_AI_OUTCOME = "otel_agent.gen_ai.outcome"
GEN_AI_EXCEPTION_EVENT = "gen_ai.client.operation.exception"
EXCEPTION_TYPE = "exception.type"

# GenAI instruments; `alias` is the name of semantic conventions 1.36
GEN_AI_INFERENCE_DURATION = Instrument(
    "gen_ai.client.inference.duration",
    "histogram",
    "s",
    "Duration of GenAI inferences.",
    GEN_AI_SECONDS,
    alias="gen_ai.client.operation.duration",
)
GEN_AI_OPERATION_DURATION = Instrument(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "Duration of other GenAI operations, such as embeddings.",
    GEN_AI_SECONDS,
)
GEN_AI_TIME_TO_FIRST_CHUNK = Instrument(
    "gen_ai.client.inference.time_to_first_chunk",
    "histogram",
    "s",
    "Time from the request to the first chunk of a stream.",
    GEN_AI_SECONDS,
    alias="gen_ai.client.operation.time_to_first_chunk",
)
GEN_AI_TIME_PER_OUTPUT_CHUNK = Instrument(
    "gen_ai.client.inference.time_per_output_chunk",
    "histogram",
    "s",
    "Mean time between the chunks of a stream.",
    GEN_AI_SECONDS,
    alias="gen_ai.client.operation.time_per_output_chunk",
)
GEN_AI_INPUT_TOKENS = Instrument(
    "gen_ai.client.inference.usage.input_tokens", "counter", "{token}", "Input tokens, cached ones included."
)
GEN_AI_OUTPUT_TOKENS = Instrument(
    "gen_ai.client.inference.usage.output_tokens", "counter", "{token}", "Output tokens, reasoning included."
)
GEN_AI_CACHE_READ_TOKENS = Instrument(
    "gen_ai.client.inference.usage.cache_read.input_tokens", "counter", "{token}", "Input tokens read from a cache."
)
GEN_AI_CACHE_WRITE_TOKENS = Instrument(
    "gen_ai.client.inference.usage.cache_write.input_tokens", "counter", "{token}", "Input tokens written to a cache."
)
GEN_AI_REASONING_TOKENS = Instrument(
    "gen_ai.client.inference.usage.reasoning.output_tokens", "counter", "{token}", "Output tokens spent on reasoning."
)
GEN_AI_OPERATION_INPUT_TOKENS = Instrument(
    "gen_ai.client.inference.operation.input_tokens",
    "histogram",
    "{token}",
    "Input tokens of one inference.",
    GEN_AI_TOKENS,
    alias="gen_ai.client.token.usage",
    alias_attributes=((GEN_AI_TOKEN_TYPE, "input"),),
)
GEN_AI_OPERATION_OUTPUT_TOKENS = Instrument(
    "gen_ai.client.inference.operation.output_tokens",
    "histogram",
    "{token}",
    "Output tokens of one inference.",
    GEN_AI_TOKENS,
    alias="gen_ai.client.token.usage",
    alias_attributes=((GEN_AI_TOKEN_TYPE, "output"),),
)
