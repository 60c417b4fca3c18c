"""Imported by Python at start-up in every process under the agent: starts the worker, then the user's own module."""

import os
import sys


def _start_worker() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    # The app must see the path it would have had; child processes still find us by PYTHONPATH.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    try:
        from otel_agent.worker import start
    except ImportError:
        return  # another interpreter than the agent's: this process runs as without us
    start.start()


def _run_users_own() -> None:
    import importlib

    this = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")  # the next one on the path, if there is one
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        if this is not None:
            sys.modules.setdefault("sitecustomize", this)


_start_worker()
_run_users_own()
