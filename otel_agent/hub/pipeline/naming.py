"""Prometheus names of OpenTelemetry metrics and attributes.

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/ (metric metadata). A test holds these
functions against the ones of `opentelemetry-exporter-prometheus`, whose module is private.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from json import dumps
from typing import Any

_NOT_IN_NAME = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_LABEL = re.compile(r"[^a-zA-Z0-9]+")
_ANNOTATION = re.compile(r"{.*}")
_UNITS = {
    "": "", "1": "", "%": "percent",
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes", "TiBy": "tibibytes",
    "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes",
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius",
    "Hz": "hertz",
}  # fmt: skip
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


@lru_cache(4096)
def unit_name(unit: str) -> str:
    """The suffix of a UCUM unit: `s` seconds, `By` bytes, `m/s` meters_per_second, nothing for an annotation."""
    unit = _ANNOTATION.sub("", unit)
    if unit in _UNITS:
        return _UNITS[unit]
    top, slash, bottom = unit.partition("/")
    bottom = _NOT_IN_NAME.sub("_", bottom)
    if slash and bottom:
        top = _NOT_IN_NAME.sub("_", top)
        return "_per_".join((_UNITS.get(top, top), _PER.get(bottom, bottom))).lstrip("_")
    return _NOT_IN_NAME.sub("_", unit).strip("_")


@lru_cache(4096)
def family_name(name: str, unit: str, kind: str) -> str:
    """The name of a metric family: without the `_total` of counters; a gauge of unit 1 is a `_ratio`.

    `kind` is counter, gauge, histogram or updowncounter; the last, though Prometheus calls it a gauge, is no ratio.
    """
    result = _NOT_IN_NAME.sub("_", _leading(name))
    if kind == "counter":
        result = result.removesuffix("_total")
    suffix = "ratio" if kind == "gauge" and unit == "1" else unit_name(unit)
    return result if not suffix or result == suffix or result.endswith("_" + suffix) else f"{result}_{suffix}"


@lru_cache(4096)
def label_name(key: str) -> str:
    """The label of an attribute."""
    return _NOT_IN_LABEL.sub("_", _leading(key)) or "_"


def _leading(text: str) -> str:
    return "_" + text[1:] if text[:1].isdigit() else text


def labels(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Labels of an attribute set; values of keys that become the same label are joined by `;`."""
    result: dict[str, str] = {}
    for key in sorted(attributes):
        value = attributes[key]
        label, text = label_name(key), value if isinstance(value, str) else dumps(value, default=str)
        result[label] = f"{result[label]};{text}" if label in result else text
    return result
