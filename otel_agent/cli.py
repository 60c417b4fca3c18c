"""The command line: options before the command mirror settings, everything from the command on is the user's."""

from __future__ import annotations

import os
import sys

from . import __version__, settings
from .diagnostics import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

USAGE = """usage: otel-agent [OPTIONS] COMMAND [ARGS...]
       otel-agent demo [--once]      run a demo app under the agent and show what it sees
       otel-agent status [--json]    the running agents of this user and their URLs
       otel-agent -- COMMAND ...     run a program that is called like one of these words

Run a Python program (python, gunicorn, uvicorn, celery, flask, ...) unchanged and observe it.

options:
  -h, --help                         show this text
  --version                          show the version
"""


class UsageError(ValueError):
    """The command line cannot be understood; the text is one sentence."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run `otel-agent` with `argv`, by default the process's; ends the process."""
    words = sys.argv[1:] if argv is None else argv
    try:
        environ, command, explicit = parse(words, dict(os.environ))
        if not explicit and command[:1] in (["-h"], ["--help"]):
            _print(help_text())
        if not explicit and command[:1] == ["--version"]:
            _print(f"otel-agent {__version__}\n")
        configured = settings.load(environ)
        _check(configured, environ)
    except (UsageError, settings.SettingError) as error:
        say(str(error))
        _exit(2)
    if not explicit and command[0] in ("demo", "status"):
        _sub_command(command, environ)
    _run(command, environ, configured)


def parse(words: list[str], environ: dict[str, str]) -> tuple[dict[str, str], list[str], bool]:
    """(environment with the options written into it, command, whether `--` came before the command)."""
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--":
            return environ, _some(words[position + 1 :]), True
        if not word.startswith("-") or word in ("-h", "--help", "--version"):
            break
        name, separator, value = word.removeprefix("--").partition("=")
        setting = settings.BY_OPTION.get(name) if word.startswith("--") else None
        if setting is None:
            raise UsageError(f"there is no option {word.partition('=')[0]}; otel-agent --help lists them.")
        position += 1
        if not separator:
            if setting.kind == "flag":
                value = "true"
            elif position < len(words):
                value = words[position]
                position += 1
            else:
                raise UsageError(f"--{name} needs a value.")
        setting.check(value, f"--{name}")
        environ[setting.name] = value
    return environ, _some(words[position:]), False


def _some(command: list[str]) -> list[str]:
    if not command:
        raise UsageError("no command is given; otel-agent --help shows how to run one.")
    return command


def help_text() -> str:
    """The text of --help, with one line per option of the settings table."""
    lines = [USAGE.rstrip("\n")]
    for option, setting in settings.BY_OPTION.items():
        left = f"  --{option}" + ("" if setting.kind == "flag" else f" {setting.kind.upper()}")
        lines.append(f"{left:<36} {setting.name}: {setting.doc.replace('`', '')}")
    lines.append("\nEvery setting is an environment variable too; the README lists all of them.\n")
    return "\n".join(lines)


def _check(configured: settings.Settings, environ: dict[str, str]) -> None:
    """Check all settings now: a bad one, or one that needs a missing package, would fail inside the hub or the app."""
    configured.validate()
    if any(name.startswith("OTEL_EXPORTER_OTLP_") or name.endswith("S_EXPORTER") for name in environ):
        from .hub.export.destination import destinations

        destinations(environ)  # for its errors: each signal may have variables of its own
    further = set(configured.items("OTEL_PROPAGATORS")) - {"tracecontext", "baggage", "none"}
    if further:
        from importlib.metadata import entry_points

        known = {point.name for point in entry_points(group="opentelemetry_propagator")}
        for name in sorted(further - known):
            raise settings.SettingError(
                f"OTEL_PROPAGATORS names {name}, which no installed package provides "
                f"(try: pip install opentelemetry-propagator-{name.removesuffix('multi')})."
            )


def _sub_command(command: list[str], environ: dict[str, str]) -> NoReturn:
    try:
        if command[0] == "status":
            from .status import main as status

            _exit(status(command[1:], environ))
        from .demo.run import main as demo

        _exit(demo(command[1:], environ))
    except UsageError as error:
        say(str(error))
        _exit(2)


def _run(command: list[str], environ: dict[str, str], configured: settings.Settings) -> NoReturn:
    from .supervisor import launch, supervise

    try:
        if configured.disabled or _is_nested(environ):
            supervise.replace(command, environ)
        supervise.run(command, environ, configured)
    except launch.CannotStart as error:
        say(str(error))
        _exit(error.status)


def _is_nested(environ: dict[str, str]) -> bool:
    """Whether an outer agent answers: its injection is in the environment already, and its hub takes our records."""
    path = environ.get("OTEL_AGENT_SOCKET")
    if not path:
        return False
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _print(text: str) -> NoReturn:
    sys.stdout.write(text)
    _exit(0)


def _exit(status: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        pass
    sys.exit(status)
