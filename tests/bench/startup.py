"""Start-up and memory rows of the table: CPU of short commands, RSS of a server, bare and under the agent.

python tests/bench/startup.py [--rounds 10]
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from otel_agent.supervisor.launch import app_environ
from support.agent import clean_environ, free_port, running, wait_for_port
from support.recording_hub import RecordingHub

ENVIRON = {"OTEL_EXPORTER_PROMETHEUS_PORT": "0", "OTEL_AGENT_STRICT": ""}


def cpu_of(command: list[str], environ: dict[str, str]) -> tuple[float, float]:
    """(CPU milliseconds, wall milliseconds) of a command and its children."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * used, 1000 * wall


def median(rounds: int, run: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """Medians of both figures over some rounds."""
    results = [run() for _ in range(rounds)]
    return statistics.median(one[0] for one in results), statistics.median(one[1] for one in results)


def commands(rounds: int) -> None:
    """CPU of the app process alone (its channel goes to a test hub), and wall time of the whole command."""
    print("| command | bare CPU | app process under the agent | whole command, wall |")
    print("|---|---|---|---|")
    for code in ("pass", "import flask, sqlalchemy, requests"):
        bare = [sys.executable, "-c", code]
        whole = [sys.executable, "-m", "otel_agent", *bare]
        with RecordingHub() as hub:
            injected = app_environ(clean_environ(**ENVIRON), hub.path, "bench")
            alone, _ = median(rounds, lambda: cpu_of(bare, clean_environ(**ENVIRON)))  # noqa: B023  called at once
            under, _ = median(rounds, lambda: cpu_of(bare, injected))  # noqa: B023
        _, wall = median(rounds, lambda: cpu_of(whole, clean_environ(**ENVIRON)))  # noqa: B023
        print(f"| `python -c '{code}'` | {alone:.0f} ms | +{under - alone:.0f} ms | {wall:.0f} ms |")


def memory() -> None:
    """RSS of gunicorn's master and one worker, bare and under the agent, and of supervisor and hub."""
    server = [sys.executable, "-m", "gunicorn", "apps:flask_app", "-b"]

    def tree(root: psutil.Process) -> list[psutil.Process]:
        return [root, *root.children(recursive=True)]

    def warm(port: int) -> None:
        import urllib.request

        for _ in range(20):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/items/3").read()
        time.sleep(1)

    port = free_port()
    folder = Path(__file__).parent
    bare = subprocess.Popen([*server, f"127.0.0.1:{port}", "--log-level", "critical"], cwd=folder, env=clean_environ())
    wait_for_port(port)
    warm(port)
    alone = sum(process.memory_info().rss for process in tree(psutil.Process(bare.pid))) / 2**20
    bare.send_signal(signal.SIGTERM)
    bare.wait()
    port = free_port()
    with running(
        *server, f"127.0.0.1:{port}", "--log-level", "critical", cwd=folder, environ={"OTEL_AGENT_STRICT": ""}
    ) as run:
        wait_for_port(port)
        warm(port)
        assert run.url
        status = run.status
        assert status is not None
        app = sum(process.memory_info().rss for process in tree(psutil.Process(status["app_pid"]))) / 2**20
        supervisor = psutil.Process(run.process.pid).memory_info().rss / 2**20
        hub = psutil.Process(status["hub_pid"]).memory_info().rss / 2**20
    print("\n| memory (RSS) | bare | under the agent |")
    print("|---|---|---|")
    print(f"| gunicorn master + 1 worker | {alone:.0f} MiB | +{app - alone:.0f} MiB |")
    print(f"| supervisor | | {supervisor:.1f} MiB |")
    print(f"| hub | | {hub:.1f} MiB |")


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, medians of {rounds} rounds\n")
    commands(rounds)
    memory()
    return 0


if __name__ == "__main__":
    sys.exit(main())
