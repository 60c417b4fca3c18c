"""Run the library tests against the oldest and newest supported versions, each in an environment of its own.

    python tests/matrix.py [--venvs FOLDER] [NAME ...]

A row whose interpreter is not on this machine is reported and left out. Exit status 0 when every row that ran passed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
INSTRUMENTORS = "tests/otel_instrumentors"
CORE = ("tests/otel_agent/worker", "tests/otel_agent/test_wire.py", "tests/otel_agent/test_settings.py")


class Row(NamedTuple):
    """One environment: a Python version, pinned libraries, and the tests to run in it."""

    name: str
    python: str
    pins: tuple[str, ...]
    tests: tuple[str, ...]


ROWS = (
    Row(
        "oldest libraries",
        "3.10",
        (
            "flask==2.2.5", "werkzeug<3", "fastapi==0.110.3", "starlette<0.37.3", "anyio<4.9", "sqlalchemy==1.4.54",
            "requests==2.31.0", "urllib3==1.26.18", "aiohttp==3.8.6", "google-genai==1.32.0", "pydantic<2.12",
        ),
        (INSTRUMENTORS, *CORE),
    ),
    Row("oldest httpx", "3.11", ("httpx==0.25.2",), (f"{INSTRUMENTORS}/web/test_httpx.py",)),
    Row("sqlalchemy 2.0", "3.11", ("sqlalchemy==2.0.49",), (f"{INSTRUMENTORS}/db",)),
    Row("google-genai 2", "3.12", ("google-genai<3",), (f"{INSTRUMENTORS}/llm",)),
    Row("newest on 3.12", "3.12", (), (INSTRUMENTORS, *CORE)),
    Row("newest on 3.13", "3.13", (), (INSTRUMENTORS, *CORE)),
    Row("newest on 3.14", "3.14", (), (INSTRUMENTORS, *CORE)),
)  # fmt: skip


def interpreter(version: str) -> str | None:
    """An interpreter of a minor version, on PATH or among pyenv's; None when there is none."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    candidates = [shutil.which(f"python{version}")]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(root.glob(f"{version}.*/bin/python"))]
    for candidate in candidates:
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def run(row: Row, venvs: Path) -> str:
    """Run one row; "passed", "failed", or why it did not run."""
    python = interpreter(row.python)
    if python is None:
        return f"left out: no Python {row.python} here"
    folder = venvs / row.name.replace(" ", "-")
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    mine = str(folder / "bin" / "python")
    install = [mine, "-m", "pip", "install", "-q", "-e", f"{ROOT}[test]", *row.pins]
    if subprocess.run(install, check=False).returncode:
        return "failed: the libraries cannot be installed together"
    tests = [mine, "-m", "pytest", "-q", "-p", "no:cacheprovider", *row.tests]
    return "passed" if subprocess.run(tests, cwd=ROOT, check=False).returncode == 0 else "failed"


def main() -> int:
    """Run the rows named on the command line, all by default."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="rows to run")
    parser.add_argument("--venvs", type=Path, help="folder for the environments, kept afterwards")
    arguments = parser.parse_args()
    rows = [row for row in ROWS if not arguments.names or row.name in arguments.names]
    results: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for row in rows:
            began = time.monotonic()
            outcome = run(row, arguments.venvs or Path(temporary))
            results.append((row.name, f"{outcome} ({time.monotonic() - began:.0f} s)"))
    for name, outcome in results:
        print(f"{name:<20} {outcome}")
    return 1 if any(outcome.startswith("failed") for _, outcome in results) else 0


if __name__ == "__main__":
    sys.exit(main())
