"""Who may ask what: Host check, classes of routes, security headers (RELIABILITY 5.1 and 5.2)."""

from __future__ import annotations

import enum
import hmac
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


class Access(enum.Enum):
    """The class of a route (FEATURES section 3)."""

    PROBE = "probe"
    OPEN = "O"


class Policy:
    """The rules of one run. `everywhere`: the hub listens on another address than loopback."""

    def __init__(self, hosts: Iterable[str], token: str, everywhere: bool) -> None:
        self._hosts = frozenset(host.strip("[]").lower() for host in hosts)
        self._token = token.encode()
        self.everywhere = everywhere

    def knows(self, host: str | None) -> bool:
        """Whether a Host header names us: an IP address, localhost, or an allowed name. Others are rebound names."""
        if not host:
            return False
        name = _without_port(host).lower().rstrip(".")
        try:
            ip_address(name)
            return True
        except ValueError:
            return name == "localhost" or name in self._hosts

    def bearer(self, headers: Headers) -> bool | None:
        """Whether the Authorization header carries the token; None without the header."""
        given = headers.get("authorization")
        if given is None:
            return None
        scheme, _, token = given.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token)

    def allows(self, access: Access, headers: Headers) -> bool:
        """Whether a route of that class answers a request with these headers."""
        if access is Access.PROBE:
            return True
        bearer = self.bearer(headers)
        return not self.everywhere if bearer is None else bearer


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def refuse(status: int, code: str, text: str) -> JSONResponse:
    """An error answer; its words are constants, nothing of the request comes back."""
    return JSONResponse({"error": text, "code": code}, status)


def checked(access: Access, policy: Policy, endpoint: Endpoint) -> Endpoint:
    """The endpoint behind the rules of its class."""

    async def answer(request: Request) -> Response:
        if policy.allows(access, request.headers):
            return await endpoint(request)
        refused = refuse(401, "unauthorized", "This needs the run's token as a bearer token.")
        refused.headers["www-authenticate"] = "Bearer"
        return refused

    return answer


class HostCheck:
    """Around the whole application, before routes and methods: wrong Host 403, and the headers of every answer."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app = self._app
        headers = Headers(scope=scope)
        if not self._policy.knows(headers.get("host")) and not self._policy.bearer(headers):
            app = refuse(403, "forbidden_host", "The Host header names another site; see OTEL_AGENT_ALLOWED_HOSTS.")
        await app(scope, receive, send_with_headers)
