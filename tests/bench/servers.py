"""Server rows of the table: app CPU per request and throughput, bare and under each agent, in one run.

    python tests/bench/servers.py [--rounds 3] [--seconds 4]

Needs wrk. Modes are interleaved, medians are printed; a run whose spans did not all arrive is marked.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.agent import clean_environ, free_port, wait_for_port
from support.otlp_receiver import OtlpReceiver

SERVERS = {
    "uvicorn + FastAPI": [
        "uvicorn",
        "--port",
        "{port}",
        "--log-level",
        "warning",
        "--no-access-log",
        "apps:fastapi_app",
    ],
    "gunicorn gthread + Flask": [
        "gunicorn",
        "-k",
        "gthread",
        "--threads",
        "4",
        "-b",
        "127.0.0.1:{port}",
        "apps:flask_app",
    ],
}
MODES = ("bare", "otel-agent", "opentelemetry-instrument", "ddtrace-run")
SPANS_PER_REQUEST = 4


@dataclass
class Result:
    """One round: microseconds of CPU per request of the app and of the hub, requests per second, spans lost."""

    app: float
    hub: float
    rate: float
    lost: int


def prefix(mode: str) -> list[str] | None:
    """The command in front of the server, or None when the mode is not installed."""
    folder = Path(sys.executable).parent
    if mode == "bare":
        return []
    if mode == "otel-agent":
        return [sys.executable, "-m", "otel_agent", "--quiet"]
    found = shutil.which(mode, path=str(folder))
    return [found] if found else None


def environ(mode: str, receiver: OtlpReceiver) -> dict[str, str]:
    """Everything exported, to loopback."""
    common = {"OTEL_SERVICE_NAME": "bench", "OTEL_AGENT_STRICT": "", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
    if mode in ("otel-agent", "opentelemetry-instrument"):
        common["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.endpoint
        common["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
        common["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http,database"
    if mode == "otel-agent":
        common["OTEL_BSP_MAX_QUEUE_SIZE"] = "100000"
    common["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    return clean_environ(**common)


def cpu(processes: list[psutil.Process]) -> float:
    """User and system seconds of some processes."""
    used = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
            used += times.user + times.system
        except psutil.NoSuchProcess:
            pass
    return used


def split(root: psutil.Process) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """(the app's processes, the agent's own) below the started command."""
    app: list[psutil.Process] = []
    hub: list[psutil.Process] = []
    for process in [root, *root.children(recursive=True)]:
        line = " ".join(process.cmdline())
        (hub if "otel_agent.hub" in line or "-m otel_agent" in line else app).append(process)
    return app, hub


def measure(server: str, mode: str, seconds: int) -> Result | None:
    """One round of one mode; None when the mode is not installed."""
    before = prefix(mode)
    if before is None:
        return None
    with OtlpReceiver() as receiver:
        port = free_port()
        module = [word.format(port=port) for word in SERVERS[server]]
        command = [*before, *([sys.executable, "-m"] if mode in ("bare", "otel-agent") else []), *module]
        process = subprocess.Popen(command, env=environ(mode, receiver), cwd=Path(__file__).parent)
        try:
            wait_for_port(port, 60)
            url = f"http://127.0.0.1:{port}/items/3"
            subprocess.run(["wrk", "-t1", "-c4", "-d1s", url], capture_output=True, check=True)
            time.sleep(1)
            app, hub = split(psutil.Process(process.pid))
            start_app, start_hub = cpu(app), cpu(hub)
            load = ["wrk", "-t1", "-c8", f"-d{seconds}s", url]
            requests, rate = parse(subprocess.run(load, capture_output=True, text=True, check=True).stdout)
            app_used = cpu(app) - start_app
            time.sleep(2)
            hub_used = cpu(hub) - start_hub
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
        lost = requests * SPANS_PER_REQUEST - len(receiver.spans) if mode == "otel-agent" else 0
    return Result(1e6 * app_used / requests, 1e6 * hub_used / requests, rate, max(lost, 0))


def parse(report: str) -> tuple[int, float]:
    """(requests, requests per second) of wrk's report."""
    requests = re.search(r"(\d+) requests in", report)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    assert requests is not None, report
    assert rate is not None, report
    return int(requests[1]), float(rate[1])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed (Debian package wrk)")
        return 1
    rounds_of = f"{arguments.rounds} rounds of {arguments.seconds} s"
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {rounds_of}\n")
    print("| server | mode | app CPU per request | of bare | hub CPU per request | requests/s | of bare | spans lost |")
    print("|---|---|---|---|---|---|---|---|")
    for server in SERVERS:
        results: dict[str, list[Result]] = defaultdict(list)
        for _ in range(arguments.rounds):
            for mode in MODES:
                result = measure(server, mode, arguments.seconds)
                if result is not None:
                    results[mode].append(result)
        bare = statistics.median(one.app for one in results["bare"])
        bare_rate = statistics.median(one.rate for one in results["bare"])
        for mode, rounds in results.items():
            app = statistics.median(one.app for one in rounds)
            hub = statistics.median(one.hub for one in rounds)
            rate = statistics.median(one.rate for one in rounds)
            lost = max(one.lost for one in rounds)
            print(
                f"| {server} | {mode} | {app:.0f} us | {app / bare:.2f}x | {hub:.0f} us | {rate:.0f} | "
                f"{100 * rate / bare_rate:.0f} % | {lost} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
