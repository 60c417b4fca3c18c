"""`python -m otel_agent.hub LISTEN_FD CONTROL_FD RUN_DIR`: what the supervisor's start command does, by hand."""

from __future__ import annotations

import sys

from .main import run

if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
