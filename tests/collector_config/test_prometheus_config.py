"""The shipped Prometheus configuration, read by Prometheus' own checker."""

import shutil
import subprocess

import yaml

from support.collector import CONFIG_DIR, ComponentAbsent, skip_absent

PROMETHEUS_CONFIG = CONFIG_DIR / "prometheus" / "prometheus.yml"


def test_prometheus_config_is_valid() -> None:
    """Prometheus' own checker accepts prometheus.yml."""
    promtool = shutil.which("promtool")
    if promtool is None:
        skip_absent(ComponentAbsent("no promtool: install Debian's package prometheus"))
    done = subprocess.run([promtool, "check", "config", PROMETHEUS_CONFIG], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_the_agent_and_the_collector() -> None:
    """Scrape and evaluation every 15 s, 10 s timeout; the agent's labels are kept."""
    config = yaml.safe_load(PROMETHEUS_CONFIG.read_text())
    assert {key: config["global"][key] for key in ("scrape_interval", "evaluation_interval", "scrape_timeout")} == {
        "scrape_interval": "15s",
        "evaluation_interval": "15s",
        "scrape_timeout": "10s",
    }
    assert config["global"]["external_labels"]
    targets = {
        job["job_name"]: (job["static_configs"][0]["targets"], job.get("honor_labels", False))
        for job in config["scrape_configs"]
    }
    assert targets == {
        "otel-agent": (["127.0.0.1:9464"], True),
        "otel-collector": (["127.0.0.1:8889"], True),
        "otel-collector-telemetry": (["127.0.0.1:8888"], False),
    }
