"""Settings: declared once, checked with one clear sentence."""

import pytest

from otel_agent import settings


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "abc", "OTEL_EXPORTER_PROMETHEUS_PORT is 'abc'; it must be a whole number."),
        (
            "OTEL_EXPORTER_PROMETHEUS_PORT",
            "70000",
            "OTEL_EXPORTER_PROMETHEUS_PORT is '70000'; it must be at most 65535.",
        ),
        ("METRICS_PORT", "-1", "METRICS_PORT is '-1'; it must be at least 0."),
        ("OTEL_SDK_DISABLED", "maybe", "OTEL_SDK_DISABLED is 'maybe'; it can be true or false."),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "soap",
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'soap'; it can be http/protobuf, http/json, grpc.",
        ),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "a=1,b",
            "OTEL_RESOURCE_ATTRIBUTES must be a list of key=value, separated by commas.",
        ),
        (
            "OTEL_AGENT_SHUTDOWN_TIMEOUT",
            "2",
            "OTEL_AGENT_SHUTDOWN_TIMEOUT is '2'; it must be a duration such as 500ms, 30s, 5m, 4h or 7d.",
        ),
    ],
)
def test_bad_values_are_named(name: str, value: str, sentence: str) -> None:
    """A bad value is one sentence that names the variable that holds it and says what it can be."""
    with pytest.raises(settings.SettingError) as raised:
        settings.load({name: value}).validate()
    assert str(raised.value) == sentence


def test_origin_and_aliases() -> None:
    """The variable wins over its alias, the alias over the default; an empty variable counts as unset."""
    port = "OTEL_EXPORTER_PROMETHEUS_PORT"
    assert (settings.load({}).integer(port), settings.load({}).origin(port)) == (9464, "default")
    assert settings.load({"METRICS_PORT": "9091"}).integer(port) == 9091
    both = settings.load({"METRICS_PORT": "9091", port: "1"})
    assert (both.integer(port), both.origin(port)) == (1, port)
    assert settings.load({port: "", "METRICS_PORT": "2"}).origin(port) == "METRICS_PORT"


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("4h", 14400), ("7d", 604800)])
def test_durations(text: str, seconds: float) -> None:
    """Durations are read in their unit and given in seconds."""
    assert settings.load({"OTEL_AGENT_METRIC_INTERVAL": text}).seconds("OTEL_AGENT_METRIC_INTERVAL") == seconds


def test_mapping_is_percent_decoded() -> None:
    """Resource attributes are percent-decoded, as the specification says."""
    loaded = settings.load({"OTEL_RESOURCE_ATTRIBUTES": "a=1%2C2, b=x=y"})
    assert loaded.mapping("OTEL_RESOURCE_ATTRIBUTES") == {"a": "1,2", "b": "x=y"}


def test_milliseconds() -> None:
    """OTEL_* numbers are milliseconds and read as seconds."""
    assert settings.load({"OTEL_METRIC_EXPORT_INTERVAL": "1500"}).seconds("OTEL_METRIC_EXPORT_INTERVAL") == 1.5


def test_defaults_are_valid() -> None:
    """Every default is a value the setting accepts, and no name or option is declared twice."""
    settings.load({}).validate()
    assert len(settings.BY_NAME) == len(settings.SETTINGS)
    options = [setting.option for setting in settings.SETTINGS if setting.option]
    assert len(options) == len(set(options))
