"""The command line, as a user meets it."""

import json
import re
import subprocess
import sys
import time

import pytest

from otel_agent import __version__, cli, settings, status
from support.agent import agent_command, clean_environ, running


def otel_agent(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command with `arguments`."""
    environ.setdefault("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    return subprocess.run(
        agent_command(*arguments), env=clean_environ(**environ), capture_output=True, text=True, timeout=60, check=False
    )


def test_help_lists_every_option() -> None:
    """--help exits 0 and shows every option with the variable it stands for."""
    result = otel_agent("--help")
    assert result.returncode == 0
    for option, setting in settings.BY_OPTION.items():
        assert f"--{option}" in result.stdout
        assert setting.name in result.stdout


def test_version() -> None:
    """--version prints name and version."""
    assert otel_agent("--version").stdout == f"otel-agent {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "sentence"),
    [
        (["no-such-command"], {}, 127, "no-such-command: command not found"),
        (["/etc/passwd"], {}, 126, "/etc/passwd: permission denied"),
        (["/"], {}, 126, "/: permission denied"),
        ([], {}, 2, "no command is given; otel-agent --help shows how to run one."),
        (["--colour", "true"], {}, 2, "there is no option --colour; otel-agent --help lists them."),
        (["--service-name"], {}, 2, "--service-name needs a value."),
        (["--prometheus-port=x", "true"], {}, 2, "--prometheus-port is 'x'; it must be a whole number."),
        (["true"], {"OTEL_SDK_DISABLED": "x"}, 2, "OTEL_SDK_DISABLED is 'x'; it can be true or false."),
        (
            ["true"],
            {"OTEL_PROPAGATORS": "nosuch"},
            2,
            (
                "OTEL_PROPAGATORS names nosuch, which no installed package provides "
                "(try: pip install opentelemetry-propagator-nosuch)."
            ),
        ),
        (
            ["--otlp-endpoint", "collector", "true"],
            {},
            2,
            "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://127.0.0.1:4318.",
        ),
        (
            ["true"],
            {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "soap"},
            2,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is 'soap'; it can be http/protobuf, http/json, grpc.",
        ),
        (
            ["true"],
            {"OTEL_TRACES_EXPORTER": "zip"},
            2,
            "OTEL_TRACES_EXPORTER is 'zip'; it can be otlp, console, none, prometheus.",
        ),
        (["status", "--colour"], {}, 2, "otel-agent status takes --json and nothing else, not --colour."),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], environ: dict[str, str], code: int, sentence: str) -> None:
    """A mistake gives one sentence on stderr and the shell's usual status, before the app starts."""
    result = otel_agent(*arguments, **environ)
    assert (result.returncode, result.stdout, result.stderr) == (code, "", f"otel-agent: {sentence}\n")


def test_options_become_variables() -> None:
    """Options are written into the environment; everything from the command on is the user's."""
    environ, command, explicit = cli.parse(
        ["--service-name", "shop", "--otlp-endpoint=http://c:4318", "--quiet", "python", "--version"], {}
    )
    assert environ == {
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
        "OTEL_AGENT_QUIET": "true",
    }
    assert (command, explicit) == (["python", "--version"], False)
    assert cli.parse(["--", "status"], {}) == ({}, ["status"], True)


def test_disabled_runs_the_command_untouched() -> None:
    """OTEL_SDK_DISABLED=true: no hub, no injection, the very process."""
    code = "import os; print(os.environ.get('OTEL_AGENT_SOCKET'), os.environ.get('PYTHONPATH'))"
    result = otel_agent(sys.executable, "-c", code, OTEL_SDK_DISABLED="true")
    assert (result.returncode, result.stdout, result.stderr) == (0, "None None\n", "")


def test_status_shows_the_run() -> None:
    """`status` lists a run with service, URL and command, as a table and as JSON, and forgets it afterwards."""
    with running(sys.executable, "-c", "import time; time.sleep(60)", options=("--service-name", "sleeper")) as run:
        url = run.url
        shown = otel_agent("status")
        assert shown.returncode == 0
        assert re.search(rf"^sleeper +{url} +\d+ +0:00:\d\d +\S*python", shown.stdout, re.M)
        agents = json.loads(otel_agent("status", "--json").stdout)["agents"]
        (mine,) = [agent for agent in agents if agent["pid"] == run.process.pid]
        assert (mine["service"], mine["url"]) == ("sleeper", url)
    assert run.status is None


def test_table_is_aligned() -> None:
    """The table's columns line up."""
    now = time.time()
    run: dict[str, object] = {
        "service": "a-long-name",
        "url": None,
        "app_pid": 7,
        "started": now - 3700,
        "command": ["x", "y"],
    }
    header, row = status.table([run], now).splitlines()
    assert row.split() == ["a-long-name", "-", "7", "1:01:40", "x", "y"]
    assert header.index("APP PID") == row.index("7")
