"""Every telemetry name the instrumentors emit, in one place.

Attributes and instruments follow the OpenTelemetry semantic conventions: HTTP and database stable ones
(https://opentelemetry.io/schemas/1.37.0), GenAI from the `semantic-conventions-genai` repository (development). Pure data: the hub
imports this module for its metric tables and nothing else from this package.
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
HTTP_METHODS = frozenset(
    ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY")
)
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
