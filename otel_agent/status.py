"""`otel-agent status`: the running agents of this user."""

from __future__ import annotations

import json
import sys
import time

from . import rundir
from .cli import UsageError

COLUMNS = ("SERVICE", "URL", "APP PID", "UP", "COMMAND")


def main(arguments: list[str], environ: dict[str, str]) -> int:
    """Print the runs as a table, or as JSON with --json. Exit status 0, or 1 when none runs."""
    if arguments not in ([], ["--json"]):
        raise UsageError(f"otel-agent status takes --json and nothing else, not {' '.join(arguments)}.")
    runs = rundir.runs(environ)
    if arguments:
        sys.stdout.write(json.dumps({"agents": runs}, indent=2) + "\n")
    elif not runs:
        sys.stdout.write("No agent is running.\n")
    else:
        sys.stdout.write(table(runs, time.time()))
    return 0 if runs else 1


def table(runs: list[dict[str, object]], now: float) -> str:
    """The runs as aligned text; `now` is in seconds since the epoch."""
    rows = [COLUMNS]
    for run in runs:
        seconds = int(now - float(str(run.get("started", now))))
        up = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        words = run.get("command")
        command = " ".join(map(str, words)) if isinstance(words, list) else ""
        rows.append((str(run.get("service")), str(run.get("url") or "-"), str(run.get("app_pid")), up, command[:80]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"
