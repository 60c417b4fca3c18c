"""Start-up: what a process under the agent imports, and what it must not."""

import json

import pytest

from otel_agent.worker import start
from otel_instrumentors.catalog import LIBRARIES
from support.agent import run_worker
from support.recording_hub import RecordingHub

FORBIDDEN = {
    "opentelemetry.sdk",
    "google.protobuf",
    "grpc",
    "ssl",
    "http.client",
    "sqlite3",
    "asyncio",
    "starlette",
    "yaml",
    "pydantic",
}


def test_the_worker_is_light(hub: RecordingHub) -> None:
    """Importing every module of the worker loads none of the heavy ones."""
    code = """
import json, pkgutil, sys
before = set(sys.modules)
import otel_agent.worker
for module in pkgutil.iter_modules(otel_agent.worker.__path__):
    if module.name != "foreign": __import__(f"otel_agent.worker.{module.name}")
print(json.dumps(sorted(sys.modules)))
"""
    loaded = set(json.loads(run_worker(hub.path, "-I", "-c", code).stdout))
    assert loaded & FORBIDDEN == set()


def test_an_app_without_libraries_pays_the_catalog_only(hub: RecordingHub) -> None:
    """`python -c pass` under the agent imports five small modules more than bare, opens nothing and starts nothing."""
    code = "import json, sys, threading; print(json.dumps([sorted(sys.modules), threading.active_count()]))"
    bare, _ = json.loads(run_worker("", "-S", "-c", code).stdout)
    under, threads = json.loads(run_worker(hub.path, "-c", code).stdout)
    ours = {name for name in under if name.startswith(("otel_", "opentelemetry", "msgspec", "wrapt"))}
    assert ours == {
        "otel_agent",
        "otel_agent.worker",
        "otel_agent.worker.hooks",
        "otel_agent.worker.native",
        "otel_agent.worker.start",
        "otel_instrumentors",
        "otel_instrumentors.catalog",
    }
    assert (threads, hub.connections) == (1, 0)
    assert "opentelemetry" not in bare


@pytest.mark.fault("F66")
def test_the_users_sitecustomize_runs(hub: RecordingHub, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The user's own sitecustomize runs exactly once and is what `import sitecustomize` gives; the path is restored."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text("print('own', __name__)\nMARK = 1\n")
    code = "import sitecustomize, sys; print(sitecustomize.MARK, any('inject' in entry for entry in sys.path))"
    result = run_worker(hub.path, "-c", code, environ={"PYTHONPATH": str(folder)})
    assert (result.stdout, result.stderr) == ("own sitecustomize\n1 False\n", "")


@pytest.mark.fault("F66")
def test_a_users_sitecustomize_that_raises(hub: RecordingHub, tmp_path_factory: pytest.TempPathFactory) -> None:
    """CPython says what it always says, and our hooks are in place all the same."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text("raise RuntimeError('theirs')\n")
    code = "from opentelemetry import trace; print(type(trace.get_tracer_provider()).__module__)"
    result = run_worker(hub.path, "-c", code, environ={"PYTHONPATH": str(folder)})
    assert result.stdout == "otel_agent.worker.tracing\n"
    assert "Error in sitecustomize" in result.stderr
    assert "RuntimeError: theirs" in result.stderr


def test_pythonpath_is_kept_for_children(hub: RecordingHub) -> None:
    """A Python child process is observed too, and the current directory is not on its path."""
    code = """
import subprocess, sys
child = "import sys; from opentelemetry import trace; trace.get_tracer('t').start_span('child').end(); print(sys.path)"
sys.exit(subprocess.call([sys.executable, "-P" if sys.version_info >= (3, 11) else "-u", "-c", child]))
"""
    result = run_worker(hub.path, "-c", code, cwd="/")
    assert result.returncode == 0, result.stderr
    hub.wait_for(lambda hub: hub.connections == 1)
    import sys

    if sys.version_info >= (3, 11):
        assert "'', " not in result.stdout
        assert "'/'," not in result.stdout


@pytest.mark.parametrize(
    ("allowed", "denied", "flask", "sqlite3"),
    [
        ("", "", True, True),
        ("flask", "", True, False),
        ("*", "flask", False, True),
        ("", "*", False, False),
        ("FLASK, sqlite3", "opentelemetry-instrumentation-flask", False, True),
    ],
)
def test_lists_of_instrumentations(allowed: str, denied: str, flask: bool, sqlite3: bool) -> None:
    """Allow-list and deny-list take names, package names and `*`; the deny-list wins."""
    environ = {"OTEL_AGENT_INSTRUMENTATIONS": allowed, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": denied}
    names = {library.name for library in start.selected(environ)}
    assert ("flask" in names, "sqlite3" in names) == (flask, sqlite3)


def test_by_default_everything_is_selected() -> None:
    """Without lists the whole catalog is selected."""
    assert start.selected({}) == list(LIBRARIES)


def test_modules_imported_before_us_are_patched(hub: RecordingHub) -> None:
    """A library that was imported before the hooks were registered is patched at once."""
    code = """
import os, sys
path = os.environ.pop("OTEL_AGENT_SOCKET")
import sqlite3
os.environ["OTEL_AGENT_SOCKET"] = path
from otel_agent.worker import start
start.start()
sqlite3.connect(":memory:").execute("select 1")
"""
    result = run_worker(hub.path, "-S", "-c", f"import sys; sys.path[:] = {__import__('sys').path!r}\n{code}")
    assert result.returncode == 0, result.stderr
    from otel_agent import wire

    hub.wait_for(lambda hub: hub.of(wire.Span))


def test_installers_are_left_alone(hub: RecordingHub) -> None:
    """pip and its like get no hooks."""
    result = run_worker(hub.path, "-m", "pip", "--version")
    assert result.returncode == 0
    assert start._denied(["python", "-m", "pip", "install"])
    assert not start._denied(["python", "app.py", "pip"])
