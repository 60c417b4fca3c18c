"""Start-up of a worker: register the hooks of the catalog and return.

Nothing else is imported before the app imports a library of the catalog or the OpenTelemetry API.
"""

from __future__ import annotations

import os
import sys

from otel_instrumentors.catalog import LIBRARIES, Library

from . import hooks, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    _ = native  # imported for its side effect: it keeps the unpatched primitives

# Tools that start Python for their own purposes; observing them would only slow an installation down.
DENIED = frozenset(("pip", "pip3", "pipx", "uv", "poetry", "conda", "pdb", "debugpy", "pydevd", "virtualenv", "venv"))
SIGNALS = ("opentelemetry.trace", "opentelemetry.metrics", "opentelemetry._logs")


def start() -> None:
    """Register hooks when this process runs under an agent. Never raises."""
    environ = os.environ
    if "OTEL_AGENT_SOCKET" not in environ or _denied(sys.orig_argv):
        return
    for library in selected(environ):
        for name in library.hooks:
            hooks.on_import(name, _instrument(library))
    for name in SIGNALS:
        hooks.on_import(name, _install)


def _denied(argv: list[str]) -> bool:
    words = argv[1:4]
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1].partition(".")[0] in DENIED
    return any(os.path.basename(word) in DENIED for word in words[:1])


def selected(environ: Mapping[str, str]) -> list[Library]:
    """The libraries to instrument: on the allow-list and not on the deny-list (`*` stands for all)."""
    allowed = _words(environ.get("OTEL_AGENT_INSTRUMENTATIONS") or "*")
    denied = _words(environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS") or "")
    return [
        library
        for library in LIBRARIES
        if not denied.intersection(("*", *library.names())) and allowed.intersection(("*", *library.names()))
    ]


def _words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(",") if word.strip()}


def _instrument(library: Library) -> hooks.Hook:
    def hook(module: ModuleType) -> None:
        try:
            from importlib import import_module

            from . import runtime

            if runtime.current() is not None:
                import_module(f"otel_instrumentors.{library.adapter}").instrument(module)
        except Exception as error:  # noqa: BLE001  a broken instrumentor must not break the app's import
            _fault(library.name, error)

    return hook


def _install(module: ModuleType) -> None:
    try:
        from . import runtime

        current = runtime.current()
        if current is not None:
            current.install(module)
    except Exception as error:  # noqa: BLE001  the app's import of the API goes on with the API's own no-ops
        _fault(module.__name__, error)


def _fault(site: str, error: Exception) -> None:
    from otel_instrumentors import guard

    guard.fault(site, error)
