"""GenAI names, quantiles and the summary of the demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import _mapping as upstream

from otel_agent import wire
from otel_agent.hub import cgroup
from otel_agent.hub.pipeline import genai
from otel_agent.hub.pipeline.naming import family_name, label_name, labels, unit_name
from otel_instrumentors import semconv
from support.agent import samples
from support.hub import Hub, hub

NAMES = ("http.server.duration", "9lives", "a:b", "ünï", "x__y", "a.b-c/d", "")
UNITS = ("", "s", "ms", "By", "1", "%", "{request}", "{a}/s", "m/s", "By/s", "foo", "foo/bar", "Cel", "°", "{x}By")


def test_names_are_those_of_the_upstream_exporter() -> None:
    """Names, labels and units are translated as opentelemetry-exporter-prometheus does."""
    assert [unit_name(unit) for unit in UNITS] == [upstream.map_unit(unit) for unit in UNITS]
    assert [family_name(name, "", "histogram") for name in NAMES] == [upstream.sanitize_full_name(n) for n in NAMES]
    keys = [name for name in NAMES if name]
    assert [label_name(key) for key in keys] == [upstream.sanitize_attribute(key) for key in keys]


def test_our_own_rules_of_names() -> None:
    """A gauge of unit 1 is a ratio; counters lose their _total; a suffix is not repeated."""
    assert family_name("load", "1", "gauge") == "load_ratio"
    assert family_name("items", "1", "updowncounter") == "items"
    assert family_name("orders.total", "{order}", "counter") == "orders"
    assert family_name("wait.seconds", "s", "histogram") == "wait_seconds"


def test_label_values() -> None:
    """Values that are no text are JSON; keys that collide share a label."""
    assert labels({"a.b": 1, "a_b": "x", "c": True, "d": ["e", 2]}) == {"a_b": "1;x", "c": "true", "d": '["e", 2]'}


def send(running: Hub) -> None:
    """Telemetry of a small shop."""
    worker = running.worker()
    served = worker.instrument("histogram", "http.server.request.duration", "s", (0.1, 0.2, 0.4))
    queried = worker.instrument("histogram", "db.client.operation.duration", "s", (0.001, 0.01))
    called = worker.instrument("histogram", "gen_ai.client.inference.duration", "s", (1.0,))
    first = worker.instrument("histogram", "gen_ai.client.inference.time_to_first_chunk", "s", (1.0,))
    used = {
        kind: worker.instrument("counter", f"gen_ai.client.inference.usage.{kind}_tokens")
        for kind in ("input", "output")
    }
    for seconds in [0.05] * 90 + [0.15] * 10:
        worker.record(served, seconds, http__request__method="GET", http__route="/items/{id}")
    worker.record(served, 0.3, http__request__method="GET", error__type="500", http__response__status_code=500)
    for _ in range(3):
        worker.record(queried, 0.005, db__system__name="sqlite", db__operation__name="SELECT")
    model: dict[str, Any] = {"gen_ai__request__model": "gemini-2.5-flash"}
    for seconds in (0.2, 0.4):
        worker.record(called, 2 * seconds, **model)
        worker.record(first, seconds, **model)
        worker.record(used["input"], 10, **model, gen_ai__token__modality="text")
        worker.record(used["output"], 20, **model, gen_ai__token__modality="text")
    running.wait_for("otel_agent_records_received_total", 112, signal="metric")


def test_summary() -> None:
    """The summary counts by route, operation and model; p95 is interpolated inside its bucket."""
    with hub() as running:
        send(running)
        found = json.loads(running.get("/api/summary")[1])
        assert found["requests"][0] == {
            "method": "GET",
            "route": "/items/{id}",
            "count": 100,
            "p95_seconds": pytest.approx(0.15),
        }
        assert found["requests"][1]["route"] == "<unmatched>"
        assert found["queries"] == [
            {"system": "sqlite", "operation": "SELECT", "count": 3, "p95_seconds": pytest.approx(0.00955)}
        ]
        assert found["models"] == [
            {
                "model": "gemini-2.5-flash",
                "calls": 2,
                "input_tokens": 20,
                "output_tokens": 40,
                "time_to_first_chunk_seconds": pytest.approx(0.3),
            }
        ]
        assert found["errors"] == [{"method": "GET", "route": "<unmatched>", "type": "500", "count": 1}]
        assert found["service"] == "shop"


def test_summary_of_an_app_that_did_nothing() -> None:
    """Without telemetry the summary is empty, not an error."""
    with hub() as running:
        assert json.loads(running.get("/api/summary")[1]) == {
            "service": "shop",
            "requests": [],
            "queries": [],
            "models": [],
            "errors": [],
        }


TOKENS = semconv.Instrument(
    "gen_ai.client.inference.operation.input_tokens",
    "histogram",
    "{token}",
    "Input tokens.",
    (1.0, 4.0),
    "gen_ai.client.token.usage",
    (("gen_ai.token.type", "input"),),
)


def definition(name: str) -> wire.DefineInstrument:
    """An instrument as a worker defines it."""
    return wire.DefineInstrument(1, "histogram", name, "{token}", "Input tokens.", (1.0, 4.0), "s", "1", "")


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("latest", [TOKENS.name]),
        ("1.36", [TOKENS.alias]),
        ("dup", [TOKENS.name, TOKENS.alias]),
    ],
)
def test_genai_metrics_have_the_names_of_the_setting(
    mode: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """latest, 1.36 or both; the alias adds its attributes and leaves out unknown usage; other metrics are untouched."""
    monkeypatch.setitem(genai._ALIASED, TOKENS.name, TOKENS)
    targets = genai.Names(mode).targets(definition(TOKENS.name))
    assert [target.definition.name for target in targets] == names
    if mode != "latest":
        assert targets[-1].more == (("gen_ai.token.type", "input"),)
        assert targets[-1].known_only
    assert [target.definition.name for target in genai.Names(mode).targets(definition("other"))] == ["other"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("latest", {"gen_ai.provider.name": "x_ai"}),
        ("1.36", {"gen_ai.system": "xai"}),
        ("dup", {"gen_ai.provider.name": "x_ai", "gen_ai.system": "xai"}),
    ],
)
def test_genai_attributes_have_the_names_of_the_setting(mode: str, expected: dict[str, str]) -> None:
    """The provider stands under its latest, its earlier or both names."""
    assert genai.Names(mode).attributes({"gen_ai.provider.name": "x_ai"}) == expected
    assert genai.Names(mode).attributes({"http.route": "/"}) == {"http.route": "/"}


def test_genai_points_carry_the_earlier_name_of_the_provider() -> None:
    """With dup, the default, the hub adds gen_ai.system to the worker's points."""
    with hub() as running:
        worker = running.worker()
        worker.record(worker.instrument("histogram", "gen_ai.x", "s", (1.0,)), 1, gen_ai__provider__name="gcp.gemini")
        text = running.wait_for("gen_ai_x_seconds_count", 1)
        ((found, _),) = samples(text, "gen_ai_x_seconds_count")
        assert (found["gen_ai_provider_name"], found["gen_ai_system"]) == ("gcp.gemini", "gcp.gemini")


def test_a_containers_limit_counts_without_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory of a container is its limit and what it cannot give back; "max" is no limit."""
    for name, text in (("max", "1000\n"), ("current", "700\n"), ("stat", "anon 1\ninactive_file 200\n")):
        (tmp_path / name).write_text(text)
    paths = tuple(str(tmp_path / name) for name in ("max", "current", "stat"))
    monkeypatch.setattr(cgroup, "_FILES", (paths,))
    assert cgroup.memory() == (1000, 500)
    (tmp_path / "max").write_text("max\n")
    assert cgroup.memory() is None
