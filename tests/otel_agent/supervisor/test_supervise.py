"""The supervisor is transparent: exit status, signals, streams and environment as without it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from otel_agent import rundir, settings
from otel_agent.supervisor import supervise
from support.agent import agent_command, clean_environ, running

ENVIRON = {"OTEL_EXPORTER_PROMETHEUS_PORT": "0"}


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command under the agent to its end."""
    given = {"capture_output": True, "text": True, "timeout": 60, "env": clean_environ(**ENVIRON), **options}
    return subprocess.run(agent_command(*command), check=False, **given)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("code", [0, 1, 2, 77, 126, 127, 128, 130, 143, 255])
def test_exit_codes(code: int) -> None:
    """The command's exit code is ours."""
    assert run("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1, signal.SIGABRT])
def test_death_by_signal(number: int) -> None:
    """A command killed by a signal makes us die by the same one."""
    assert run("sh", "-c", f"kill -{int(number)} $$").returncode == -number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
@pytest.mark.fault("F19")
def test_signals_are_forwarded_once(number: signal.Signals) -> None:
    """A signal sent to our pid reaches the app exactly once, and the app decides what happens."""
    code = (
        "import signal, sys, time\n"
        "got = []\n"
        f"signal.signal({int(number)}, lambda *_: got.append(1))\n"
        "print('ready', flush=True)\n"
        "until = time.monotonic() + 20\n"
        "while not got and time.monotonic() < until: time.sleep(0.01)\n"
        "time.sleep(0.2)\n"
        "print(len(got), flush=True)\n"
        "sys.exit(9)\n"
    )
    with running(sys.executable, "-c", code) as agent:
        assert agent.process.stdout is not None
        assert agent.process.stdout.readline() == "ready\n"
        agent.process.send_signal(number)
        assert agent.process.stdout.readline() == "1\n"
        assert agent.process.wait(20) == 9


def test_streams_pass_through() -> None:
    """stdin, stdout and stderr are the app's own, byte for byte, and nothing of ours is on them."""
    data = bytes(range(256)) * 2000
    code = "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d); sys.stderr.buffer.write(d[::-1])"
    result = run(sys.executable, "-c", code, input=data, text=False)
    assert result.stdout == data  # type: ignore[comparison-overlap]
    assert result.stderr == data[::-1]  # type: ignore[comparison-overlap]


@pytest.mark.fault("F44")
def test_pipes_and_command_substitution() -> None:
    """`| head -1` ends the app as bare, and `$(...)` returns with the app: the hub holds none of its descriptors."""
    command = " ".join(map("'{}'".format, agent_command("sh", "-c", "yes; echo status $? >&2")))
    result = subprocess.run(
        [
            "bash",
            "-c",
            f'{command} | head -1; echo "${{PIPESTATUS[0]}}"; x=$({command} 2>/dev/null | head -2); echo "$x"',
        ],
        env=clean_environ(**ENVIRON),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.stdout == "y\n0\ny\ny\n"


def test_environment_directory_and_mask() -> None:
    """The app finds its environment, directory, umask, signal mask, dispositions and descriptors as bare."""
    code = (
        "import os, signal, json; print(json.dumps([os.getcwd(), os.umask(0),"
        " sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),"
        " [int(n) for n in range(1, 32) if n not in (9, 19) and signal.getsignal(n) == signal.SIG_IGN],"
        " sorted(os.listdir('/proc/self/fd')),"
        " {k: v for k, v in os.environ.items()"
        "  if k not in ('PYTHONPATH', 'OTEL_AGENT_SOCKET', 'OTEL_AGENT_INSTANCE')}]))"
    )
    command = [sys.executable, "-c", code]
    bare = subprocess.run(command, env=clean_environ(**ENVIRON), capture_output=True, text=True, check=True)
    assert run(*command).stdout == bare.stdout


@pytest.mark.fault("F6")
def test_supervisor_killed() -> None:
    """kill -9 of the supervisor takes the app with it, and nothing stays behind."""
    with running(sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)") as agent:
        assert agent.process.stdout is not None
        agent.process.stdout.readline()
        status = agent.status
        assert agent.url
        status = agent.status
        assert status is not None
        agent.process.kill()
        agent.process.wait()
        until = time.monotonic() + 6
        pids = [status["app_pid"], status["hub_pid"]]
        while any(_lives(pid) for pid in pids):
            assert time.monotonic() < until, f"still alive: {pids}"
            time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.fault("F4")
def test_hub_killed() -> None:
    """A killed hub is started again and serves the same run; the app does not notice."""
    with running(sys.executable, "-c", "import time; time.sleep(60)") as agent:
        assert agent.url
        before = agent.status
        assert before is not None
        os.kill(before["hub_pid"], signal.SIGKILL)
        until = time.monotonic() + 10
        while True:
            now = agent.status
            if now is not None and now["hub_pid"] not in (0, before["hub_pid"]) and now["url"]:
                break
            assert time.monotonic() < until
            time.sleep(0.05)
        assert agent.process.poll() is None


def test_nothing_stays_behind() -> None:
    """After the run its directory and its hub are gone."""
    with running(sys.executable, "-c", "import time; time.sleep(60)") as agent:
        assert agent.url
        status = agent.status
        assert status is not None
        agent.stop()
    assert not _lives(status["hub_pid"])
    assert rundir.runs(agent.environ) == [run for run in rundir.runs(agent.environ) if run["pid"] != status["pid"]]


@pytest.mark.fault("F24")
def test_nested_agents() -> None:
    """An agent inside an agent starts no second hub: the command runs in place, on the outer socket."""
    inner = agent_command(sys.executable, "-c", "import os; print(os.getppid(), os.environ['OTEL_AGENT_INSTANCE'])")
    code = (
        "import os, subprocess, sys\n"
        f"out = subprocess.run({inner!r}, capture_output=True, text=True)\n"
        "print(out.stdout.split() == [str(os.getpid()), os.environ['OTEL_AGENT_INSTANCE']], out.stderr)\n"
    )
    assert run(sys.executable, "-c", code).stdout == "True \n"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python", "main.py"], "main"),
        (["python3.12", "-u", "app/run.py", "x.py"], "run"),
        (["python", "-m", "shop.web"], "shop.web"),
        (["gunicorn", "-w", "4", "shop.wsgi:app"], "shop"),
        (["uvicorn", "main:app", "--host", "0.0.0.0:1"], "main"),
        (["/usr/bin/celery", "worker"], "celery"),
        (["python", "-c", "pass"], "python"),
    ],
)
def test_service_name(command: list[str], name: str) -> None:
    """The default service name is that of the script, module or program."""
    assert supervise.service_name(command, settings.load({})) == name
    assert supervise.service_name(command, settings.load({"OTEL_SERVICE_NAME": "given"})) == "given"
    given = settings.load({"OTEL_RESOURCE_ATTRIBUTES": "service.name=attribute"})
    assert supervise.service_name(command, given) == "attribute"


def test_no_runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Candidates that are too long or not private are passed over."""
    folder = tmp_path_factory.mktemp("runtime")
    shared = folder / "otel-agent"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    made = rundir.create({"XDG_RUNTIME_DIR": str(folder)})
    assert made is not None
    assert not made.startswith(str(folder))
    rundir.remove(made)
    assert not os.path.exists(made)
