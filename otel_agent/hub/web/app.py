"""The routes: each path with its class, its answer, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from otel_agent.hub.pipeline.prometheus import Exposition, Selection
from otel_agent.hub.pipeline.summary import summary

from .access import Access, HostCheck, Policy, checked, refuse
from .health import Health

_ERRORS = {404: ("not_found", "There is no such page."), 405: ("method_not_allowed", "The method is not allowed.")}


@dataclass
class Hub:
    """What the endpoints answer from. `exposition` is None when metrics are off."""

    service: str
    exposition: Exposition | None
    health: Health


class Endpoint(NamedTuple):
    """One row of the route table."""

    path: str
    access: Access
    answer: Callable[[Hub, Request], Awaitable[Response]]
    methods: tuple[str, ...] = ("GET",)  # HEAD comes with GET


async def metrics(hub: Hub, request: Request) -> Response:
    """GET /metrics: Prometheus text 0.0.4, or OpenMetrics 1.0 with exemplars, by the Accept header."""
    if hub.exposition is None:
        return refuse(404, "metrics_off", "Metrics are off (ENABLE_METRICS).")
    return await run_in_threadpool(_metrics, hub.exposition, request)


def _metrics(exposition: Exposition, request: Request) -> Response:
    # prometheus_client brings an HTTP server and TLS along: only a hub that is scraped pays for it.
    from prometheus_client.exposition import choose_encoder

    names = request.query_params.getlist("name[]")
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    collector: Any = Selection(exposition, names) if names else exposition
    return Response(encode(collector), media_type=None, headers={"content-type": content_type})


async def health(hub: Hub, request: Request) -> Response:
    """GET /health: the parts of the hub, for people and load balancers."""
    body = hub.health.report()
    status = 503 if body["status"] == "fail" else 200
    return JSONResponse(body, status, media_type="application/health+json")


async def live(hub: Hub, request: Request) -> Response:
    """GET /live: the event loop answers and the app's process exists."""
    return _probe(hub.health.dead())


async def ready(hub: Hub, request: Request) -> Response:
    """GET /ready: the app has a port open or has served a request."""
    return _probe(await run_in_threadpool(hub.health.unready))


def _probe(reason: str | None) -> Response:
    if reason is None:
        return JSONResponse({"status": "pass"})
    return JSONResponse({"status": "fail", "reason": reason}, 503)


async def numbers(hub: Hub, request: Request) -> Response:
    """GET /api/summary: requests, queries, LLM calls and errors since the start."""
    if hub.exposition is None:
        return refuse(404, "metrics_off", "Metrics are off (ENABLE_METRICS).")
    return JSONResponse(await run_in_threadpool(_numbers, hub.service, hub.exposition))


def _numbers(service: str, exposition: Exposition) -> dict[str, Any]:
    return summary(service, (metric for _, metric in exposition.metrics()))


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("/metrics", Access.OPEN, metrics),
    Endpoint("/health", Access.OPEN, health),
    Endpoint("/api/health", Access.OPEN, health),
    Endpoint("/api/summary", Access.OPEN, numbers),
    Endpoint("/live", Access.PROBE, live),
    Endpoint("/ready", Access.PROBE, ready),
)


def application(hub: Hub, policy: Policy) -> ASGIApp:
    """The ASGI application."""
    routes = [
        Route(one.path, checked(one.access, policy, _bound(one, hub)), methods=list(one.methods)) for one in ENDPOINTS
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error, 500: _internal_error})
    app.router.redirect_slashes = False
    return HostCheck(app, policy)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = refuse(error.status_code, *_ERRORS.get(error.status_code, ("error", "The request failed.")))
    answer.headers.update(error.headers or {})
    return answer


def _internal_error(request: Request, error: Exception) -> Response:
    return refuse(500, "internal_error", "The hub failed to answer; hub.log has the reason.")


def _bound(endpoint: Endpoint, hub: Hub) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await endpoint.answer(hub, request)

    return answer
