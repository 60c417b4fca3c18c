"""The static table of libraries: which module's import triggers which adapter.

One line per library. Nothing is scanned at start-up, so only what the app imports is ever patched. Pure data: this
module is read by every Python process that starts under the agent.
"""

from __future__ import annotations


class Library:
    """One instrumented library.

    name: the word for it in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS and OTEL_AGENT_INSTRUMENTATIONS.
    hooks: modules whose import triggers the adapter; the adapter's `instrument(module)` is called for each.
    adapter: module below this package, such as "web.flask".
    distribution: requirement that names the tested range's lower end; newer versions are instrumented too.
    upstream: the opentelemetry-instrumentation package it stands for, if any.
    """

    __slots__ = ("adapter", "distribution", "hooks", "name", "upstream")

    def __init__(self, name: str, hooks: tuple[str, ...], adapter: str, distribution: str, upstream: str = "") -> None:
        self.name = name
        self.hooks = hooks
        self.adapter = adapter
        self.distribution = distribution
        self.upstream = upstream

    def names(self) -> tuple[str, ...]:
        """Every word that selects this library in a list of instrumentations, lower case."""
        return (self.name, self.upstream, *self.hooks)


LIBRARIES: tuple[Library, ...] = (
    # web servers and frameworks
    Library("flask", ("flask.app",), "web.flask", "flask>=2.2", "opentelemetry-instrumentation-flask"),
    Library(
        "starlette",
        ("starlette.applications", "starlette.routing", "fastapi.applications", "fastapi.routing"),
        "web.starlette",
        "starlette>=0.37",
        "opentelemetry-instrumentation-fastapi",
    ),
    Library("uvicorn", ("uvicorn.config",), "web.uvicorn", "uvicorn>=0.29"),
    Library("gunicorn", ("gunicorn.app.base",), "web.gunicorn", "gunicorn>=21"),
    Library("wsgiref", ("wsgiref.simple_server",), "web.wsgiref", "wsgiref"),
    # HTTP clients
    Library(
        "requests",
        ("requests.sessions",),
        "web.requests",
        "requests>=2.31",
        "opentelemetry-instrumentation-requests",
    ),
    Library(
        "urllib3",
        ("urllib3.connectionpool",),
        "web.urllib3",
        "urllib3>=1.26",
        "opentelemetry-instrumentation-urllib3",
    ),
    Library("httpx", ("httpx",), "web.httpx", "httpx>=0.25", "opentelemetry-instrumentation-httpx"),
    Library("httpx2", ("httpx2",), "web.httpx", "httpx2>=2.0"),
    Library(
        "aiohttp-client",
        ("aiohttp.client",),
        "web.aiohttp_client",
        "aiohttp>=3.8",
        "opentelemetry-instrumentation-aiohttp-client",
    ),
    # databases
    Library(
        "sqlalchemy",
        ("sqlalchemy.engine", "sqlalchemy.engine.default"),
        "db.sqlalchemy",
        "sqlalchemy>=1.4",
        "opentelemetry-instrumentation-sqlalchemy",
    ),
    Library(
        "sqlite3",
        ("sqlite3", "aiosqlite.core"),
        "db.sqlite3",
        "sqlite3",
        "opentelemetry-instrumentation-sqlite3",
    ),
    # LLM clients
    Library(
        "google-genai",
        ("google.genai.models",),
        "llm.gemini",
        "google-genai>=1.32",
        "opentelemetry-instrumentation-google-genai",
    ),
)
