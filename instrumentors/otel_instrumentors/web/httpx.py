"""httpx, and httpx2 that has the same interface: one span per request a transport sends, so one per redirect hop.

The transport returns when the response's headers are there; reading the body, streamed or not, is after the span.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import client

LIBRARY = "httpx"

_VERSIONS = {b"HTTP/1.0": "1.0", b"HTTP/1.1": "1.1", b"HTTP/2": "2", b"HTTP/3": "3"}


def read_request(transport: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> client.Request | None:
    """The `httpx.Request`, first argument of a transport; its own headers travel."""
    request: Any = args[0] if args else kwargs.get("request")
    if not hasattr(request, "headers"):
        return None
    return client.Request(request.method, str(request.url), request.headers, args, kwargs)


def read_response(response: Any) -> client.Response:
    """Of a `httpx.Response`."""
    return client.Response(response.status_code, _VERSIONS.get(response.extensions.get("http_version", b"HTTP/1.1")))


HTTPX = client.HTTPClient(
    library=LIBRARY,
    method="HTTPTransport.handle_request",
    read_request=read_request,
    read_response=read_response,
)


def instrument(module: ModuleType) -> None:
    """Instrument `httpx` or `httpx2`; OTEL_PYTHON_HTTPX_EXCLUDED_URLS holds for both."""
    for method in ("HTTPTransport.handle_request", "AsyncHTTPTransport.handle_async_request"):
        client.instrument(HTTPX._replace(library=module.__name__, method=method), module, LIBRARY)
