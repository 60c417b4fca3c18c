"""requests: one span per `Session.send`, which follows redirects inside; urllib3 below it stays silent."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import client

LIBRARY = "requests"

_VERSIONS = {10: "1.0", 11: "1.1", 20: "2"}  # of urllib3's response


def read_request(session: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> client.Request | None:
    """The PreparedRequest, first argument of `send`; its own headers travel."""
    prepared = args[0] if args else kwargs.get("request")
    method, url = getattr(prepared, "method", None), getattr(prepared, "url", None)
    if not isinstance(method, str) or not isinstance(url, str):
        return None  # no prepared request: the library will say so
    return client.Request(method, url, getattr(prepared, "headers", None), args, kwargs)


def read_response(response: Any) -> client.Response:
    """Of a `requests.Response`; adapters other than requests' own may leave `raw` out."""
    version = _VERSIONS.get(getattr(response.raw, "version", None) or 0)
    return client.Response(response.status_code, version, len(response.history))


def read_failure(error: BaseException) -> client.Response | None:
    """RequestException carries the response it was raised for (TooManyRedirects, raise_for_status in a hook)."""
    response = getattr(error, "response", None)
    return read_response(response) if hasattr(response, "status_code") else None


REQUESTS = client.HTTPClient(
    library=LIBRARY,
    method="Session.send",
    read_request=read_request,
    read_response=read_response,
    read_failure=read_failure,
    layered=True,
)


def instrument(module: ModuleType) -> None:
    """Instrument `requests.sessions`."""
    client.instrument(REQUESTS, module)
