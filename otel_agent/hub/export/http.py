"""OTLP over HTTP, protobuf or JSON, on urllib3: no redirects, no retries of urllib3's, one deadline for everything.

Timeouts of a socket count from each byte, so a collector that drips could hold us for ever. A timer shuts the socket
down at the deadline, whatever the exchange is doing then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed

import urllib3

from otel_agent import __version__
from otel_agent.hub.export import answer, tls
from otel_agent.hub.export.answer import Answer
from otel_agent.hub.export.connection import Connections
from otel_agent.hub.export.destination import Destination

CONNECT_TIMEOUT = 5.0
MAX_IDLE = 30.0
MAX_ANSWER = 64 << 10


class Http:
    """Transport to one URL. `clock` is monotonic, `wall` the time of day, for dates in Retry-After."""

    def __init__(
        self,
        destination: Destination,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._destination = destination
        self._clock = clock
        self._wall = wall
        self._headers = _headers(destination)
        self._connections = Connections()
        self._manager: urllib3.PoolManager | None = None
        self._files: tls.Fingerprint = ()
        self._used = 0.0

    def send(self, body: bytes, timeout: float) -> Answer:
        """One exchange. A kept-alive connection that turns out dead is replaced at once, once."""
        deadline = time.monotonic() + timeout
        try:
            manager = self._fresh_manager()
            self._connections.opened = 0
            try:
                return self._exchange(manager, body, deadline)
            except urllib3.exceptions.ProtocolError:
                if self._connections.opened or time.monotonic() >= deadline:
                    raise
                self._clear(manager)
                return self._exchange(manager, body, deadline)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self.close()
            late = time.monotonic() >= deadline or isinstance(error, urllib3.exceptions.ReadTimeoutError)
            return answer.failed(f"no answer within {timeout:g} s" if late else _reason(error))

    def close(self) -> None:
        """Give up the connection."""
        if self._manager is not None:
            self._clear(self._manager)
            self._manager = None

    def _exchange(self, manager: urllib3.PoolManager, body: bytes, deadline: float) -> Answer:
        left = max(deadline - time.monotonic(), 0.001)
        self._connections.aborted = False
        watchdog = threading.Timer(left, self._connections.abort)
        watchdog.daemon = True
        watchdog.start()
        try:
            response = manager.urlopen(
                "POST",
                self._destination.endpoint,
                body=body,
                headers=self._headers,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, left), read=left),
                preload_content=False,
                decode_content=False,
            )
            try:
                data = response.read(MAX_ANSWER)
                headers = {name.lower(): value for name, value in response.headers.items()}
            except BaseException:
                response.close()
                raise
            whole = len(data) < MAX_ANSWER
            cut_off = self._connections.aborted or (whole and bool(response.length_remaining))
            response.release_conn() if whole and not cut_off else response.close()
            if cut_off:  # http.client takes an early end of headers or body for their end
                raise urllib3.exceptions.ProtocolError("the answer was cut off")
        finally:
            watchdog.cancel()
            self._connections.settle()
        self._used = self._clock()
        signal = self._destination.signal
        return answer.http(signal, response.status, headers, data if whole else data[:200], self._wall())

    def _fresh_manager(self) -> urllib3.PoolManager:
        """The connection pool, new when a TLS file changed, empty when the connection was idle for long."""
        files = tls.fingerprint(self._destination) if self._destination.tls else ()
        if self._manager is None or files != self._files:
            self.close()
            self._manager = self._make_manager()
            self._files = files
        elif self._clock() - self._used > MAX_IDLE:
            self._clear(self._manager)
        return self._manager

    def _clear(self, manager: urllib3.PoolManager) -> None:
        manager.clear()
        self._connections.settle()

    def _make_manager(self) -> urllib3.PoolManager:
        options: dict[str, Any] = {"num_pools": 1, "maxsize": 1}
        if self._destination.tls:
            options["ssl_context"] = tls.context(self._destination)
            options["cert_reqs"] = "CERT_REQUIRED"
        proxy = _proxy(self._destination.endpoint)
        manager = urllib3.PoolManager(**options) if proxy is None else _proxied(proxy, options)
        manager.pool_classes_by_scheme = self._connections.pools()
        return manager


def _headers(destination: Destination) -> dict[str, str]:
    kind = "application/json" if destination.protocol == "http/json" else "application/x-protobuf"
    headers = {"user-agent": f"otel-agent/{__version__}", **destination.headers}
    headers["content-type"] = kind
    headers["accept-encoding"] = "identity"
    if destination.compression != "none":
        headers["content-encoding"] = destination.compression
    return headers


def _proxy(url: str) -> str | None:
    """The proxy the standard variables name for a URL, or None."""
    parts = urlsplit(url)
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass_environment(parts.netloc, proxies):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _proxied(url: str, options: dict[str, Any]) -> urllib3.ProxyManager:
    parts = urlsplit(url)
    headers = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=pair)
    return urllib3.ProxyManager(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", proxy_headers=headers, **options)


def _reason(error: BaseException) -> str:
    """What went wrong, for people: the innermost error's words, without objects' addresses."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OSError):
        inner = inner.__cause__ or inner.__context__
    error = inner or error
    text = str(getattr(error, "strerror", "") or error)
    return text or type(error).__name__
