"""urllib3: one span per `urlopen` of a connection pool.

The retries of a pool happen inside its `urlopen` and are counted (http.request.resend_count). A PoolManager follows
redirects itself, so each hop is a span of its own.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import client

LIBRARY = "urllib3"

_VERSIONS = {10: "1.0", 11: "1.1", 20: "2"}
_DEFAULT_PORTS = (("http", 80), ("https", 443))


def read_request(pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> client.Request | None:
    """`urlopen(method, url, body=None, headers=None, ...)`; headers of the app's, or else of the pool's, are copied."""
    method = args[0] if args else kwargs.get("method")
    url = args[1] if len(args) > 1 else kwargs.get("url")
    if not isinstance(method, str) or not isinstance(url, str):
        return None
    given = args[3] if len(args) > 3 else kwargs.get("headers")
    given = pool.headers if given is None else given
    headers = given.copy() if hasattr(given, "copy") else dict(given)
    if len(args) > 3:
        args = (*args[:3], headers, *args[4:])
    else:
        kwargs = {**kwargs, "headers": headers}
    return client.Request(
        method, url if "://" in url and url[:1] != "/" else _origin(pool) + url, headers, args, kwargs
    )


def _origin(pool: Any) -> str:
    scheme, host, port = pool.scheme, pool.host, pool.port
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{scheme}://{host}" if not port or (scheme, port) in _DEFAULT_PORTS else f"{scheme}://{host}:{port}"


def read_response(response: Any) -> client.Response:
    """Of a urllib3 HTTPResponse; its `retries` remember redirects and retries on the way to it."""
    resends = len(getattr(response.retries, "history", None) or ())
    return client.Response(response.status, _VERSIONS.get(response.version or 0), resends)


URLLIB3 = client.HTTPClient(
    library=LIBRARY,
    method="HTTPConnectionPool.urlopen",
    read_request=read_request,
    read_response=read_response,
    layered=True,
)


def instrument(module: ModuleType) -> None:
    """Instrument `urllib3.connectionpool`."""
    client.instrument(URLLIB3, module)
