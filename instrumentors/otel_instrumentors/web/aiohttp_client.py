"""aiohttp's client: one span per `ClientSession._request`, which follows redirects inside."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import client

LIBRARY = "aiohttp-client"

_VERSIONS = {(1, 0): "1.0", (1, 1): "1.1"}


def read_request(session: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> client.Request | None:
    """`_request(method, str_or_url, *, params=None, headers=None, ...)`; the headers are copied."""
    method = args[0] if args else kwargs.get("method")
    url = args[1] if len(args) > 1 else kwargs.get("str_or_url")
    if not isinstance(method, str) or url is None:
        return None
    headers = _headers(session, kwargs.get("headers"))
    if headers is not None:
        kwargs = {**kwargs, "headers": headers}
    return client.Request(method.upper(), _url(session, url, kwargs.get("params")), headers, args, kwargs)


def _url(session: Any, url: Any, params: Any) -> str:
    """The absolute URL; building it is left to yarl only where there is something to build."""
    if not params and isinstance(url, str) and "://" in url:
        return url
    try:
        url = session._build_url(url)
        return str(url.update_query(params) if params else url)
    except (TypeError, ValueError):  # no URL: aiohttp will say so itself
        return str(url)


def _headers(session: Any, given: Any) -> Any:
    """A copy of the app's headers in the type of the session's own (CIMultiDict); None when they are no headers."""
    multidict = type(session._default_headers)
    if given is None:
        return multidict()
    if not hasattr(given, "items") and not isinstance(given, (list, tuple)):
        return None  # an iterator can be read once, and that is for aiohttp to do
    try:
        return multidict(given)
    except (TypeError, ValueError):
        return None


def read_response(response: Any) -> client.Response:
    """Of a ClientResponse."""
    version = response.version
    return client.Response(
        response.status, None if version is None else _VERSIONS.get(tuple(version)), len(response.history)
    )


def read_failure(error: BaseException) -> client.Response | None:
    """ClientResponseError (raise_for_status, too many redirects) carries the status; 0 when there was none."""
    status = getattr(error, "status", None)
    return client.Response(status) if isinstance(status, int) and status > 0 else None


AIOHTTP = client.HTTPClient(
    library=LIBRARY,
    method="ClientSession._request",
    read_request=read_request,
    read_response=read_response,
    read_failure=read_failure,
    warns=True,
)


def instrument(module: ModuleType) -> None:
    """Instrument `aiohttp.client`."""
    client.instrument(AIOHTTP, module)
