"""Who gets which answer from the hub's HTTP interface."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from otel_agent.hub.web.access import HEADERS, Access
from otel_agent.hub.web.app import ENDPOINTS
from support.hub import Hub, hub

# RELIABILITY 5.2 for the classes that exist: credentials -> status, on loopback and on a public address.
LOOPBACK = {
    Access.PROBE: {"none": 200, "bad": 200, "bearer": 200},
    Access.OPEN: {"none": 200, "bad": 401, "bearer": 200},
}
PUBLIC = {
    Access.PROBE: {"none": 200, "bad": 200, "bearer": 200},
    Access.OPEN: {"none": 401, "bad": 401, "bearer": 200},
}
ROWS = [(one.path, one.access, who) for one in ENDPOINTS for who in ("none", "bad", "bearer")]


@pytest.fixture(scope="module")
def local() -> Iterator[Hub]:
    """A hub on loopback, with a live app."""
    with hub(OTEL_AGENT_ALLOWED_HOSTS="metrics.internal") as made:
        yield ready(made)


@pytest.fixture(scope="module")
def public() -> Iterator[Hub]:
    """A hub on all addresses."""
    with hub(OTEL_EXPORTER_PROMETHEUS_HOST="0.0.0.0") as made:
        yield ready(made)


def ready(made: Hub) -> Hub:
    """The hub once it counts a served request, so that every route can answer 200."""
    made.announce(os.getpid())
    worker = made.worker()
    worker.record(worker.instrument("histogram", "http.server.request.duration", "s"), 0.1)
    made.wait_until_ready()
    return made


def ask(running: Hub, path: str, who: str = "none", method: str = "GET", host: str = "") -> tuple[int, Any, str]:
    """(status, headers, body) of a request with the credentials of `who`."""
    assert running.url is not None
    headers = {"Host": host} if host else {}
    if who != "none":
        headers["Authorization"] = "Bearer " + (running.token() if who == "bearer" else "wrong")
    connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(("path", "access", "who"), ROWS)
def test_authorization_matrix(local: Hub, public: Hub, path: str, access: Access, who: str) -> None:
    """Every route of the table answers by its class, on loopback and on a public address."""
    assert ask(local, path, who)[0] == LOOPBACK[access][who]
    assert ask(public, path, who)[0] == PUBLIC[access][who]
    assert ask(local, path, who, "HEAD")[::2] == (LOOPBACK[access][who], "")


@pytest.mark.parametrize("path", [one.path for one in ENDPOINTS] + ["/nothing"])
def test_a_foreign_host_is_refused_before_anything_else(local: Hub, path: str) -> None:
    """A rebound name learns nothing, neither which routes exist nor which methods."""
    for method in ("GET", "HEAD", "POST", "DELETE"):
        status, headers, body = ask(local, path, host="evil.example", method=method)
        assert status == 403
        assert method == "HEAD" or json.loads(body)["code"] == "forbidden_host"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:9464", 200),
        ("10.1.2.3", 200),
        ("localhost:9464", 200),
        ("LOCALHOST.", 200),
        ("metrics.internal:1", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("metrics.internal@evil.example", 403),
        ("a:b:c", 403),
        ("[::1", 200),
    ],
)
def test_hosts(local: Hub, host: str, status: int) -> None:
    """IP addresses, localhost and the allowed names are ours; every other name may be a rebound one."""
    assert ask(local, "/live", host=host)[0] == status


def test_the_token_makes_any_host_good(local: Hub) -> None:
    """Who has the token is no browser that was led here."""
    assert ask(local, "/metrics", "bearer", host="evil.example")[0] == 200
    assert ask(local, "/metrics", "bad", host="evil.example")[0] == 403


@pytest.mark.parametrize("path", [one.path for one in ENDPOINTS])
def test_other_methods_are_refused(local: Hub, path: str) -> None:
    """Methods are an allow-list."""
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        status, headers, body = ask(local, path, method=method)
        assert (status, json.loads(body)["code"]) == (405, "method_not_allowed")
        assert sorted(headers["allow"].split(", ")) == ["GET", "HEAD"]


def test_every_answer_has_the_headers(local: Hub) -> None:
    """Good and bad answers alike; no Server header."""
    for path, host in (
        ("/metrics", ""),
        ("/health", ""),
        ("/nothing", ""),
        ("/metrics/", ""),
        ("/live", "evil.example"),
    ):
        _, headers, _ = ask(local, path, host=host)
        assert {name: headers[name] for name in HEADERS} == HEADERS
        assert headers["server"] is None


def test_unknown_paths_are_json_errors(local: Hub) -> None:
    """404 says nothing of what was asked."""
    status, _, body = ask(local, "/nothing?q=<script>")
    assert (status, json.loads(body)) == (404, {"error": "There is no such page.", "code": "not_found"})


def test_content_types(local: Hub) -> None:
    """Text 0.0.4 by default, OpenMetrics on request, health+json for health."""
    assert ask(local, "/metrics")[1]["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert ask(local, "/health")[1]["content-type"] == "application/health+json"
    assert local.metrics("application/openmetrics-text;version=1.0.0").endswith("# EOF\n")


def test_a_large_header_is_refused(local: Hub) -> None:
    """A request's header has at most 16 KiB."""
    assert local.url is not None
    host, _, port = local.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 10) as raw:
        raw.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 20_000)
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


def test_too_many_connections_are_refused(local: Hub) -> None:
    """At most 64 connections; the hub answers again when they are gone."""
    assert local.url is not None
    host, _, port = local.url.removeprefix("http://").partition(":")
    many = [socket.create_connection((host, int(port)), 10) for _ in range(80)]
    try:
        assert ask(local, "/live")[0] == 503
    finally:
        for one in many:
            one.close()
    local.wait_until_ready()
