"""Where telemetry goes: the OTEL_EXPORTER_OTLP_* variables, read and checked here and nowhere else.

Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and "General SDK Configuration".
"""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

from otel_agent.settings import BY_NAME, SettingError

SIGNALS = ("traces", "metrics", "logs")
_EXPORTERS = ("otlp", "console", "none", "prometheus")
_OTLP = "OTEL_EXPORTER_OTLP_"


@dataclass(frozen=True)
class Destination:
    """One place one signal is sent to.

    name: "otlp" or "console", the `destination` of our counters. protocol: http/protobuf, http/json, grpc or console.
    endpoint: the whole URL for HTTP, host:port for gRPC; never with credentials, those are in `headers` (lower-case
    names). timeout: seconds for one exchange. compression: gzip, deflate or none. certificate, client_certificate and
    client_key: PEM files or "". warnings: sentences to say at start.
    """

    name: str
    signal: str
    protocol: str
    endpoint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 10.0
    compression: str = "none"
    tls: bool = False
    certificate: str = ""
    client_certificate: str = ""
    client_key: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The endpoint as people may see it: without query, which may hold a key."""
        return self.endpoint.partition("?")[0] or self.name


def destinations(environ: Mapping[str, str]) -> list[Destination]:
    """The destinations an environment asks for, in the order traces, metrics, logs; an empty variable is unset.

    Raises SettingError, a ValueError, with one sentence that names the variable with a bad value.
    """
    found = []
    for signal in SIGNALS:
        for exporter in _exporters(environ, signal):
            if exporter == "otlp":
                found.append(_otlp(_Variables(environ, signal)))
            elif exporter == "console":
                found.append(Destination("console", signal, "console"))
    return found


def _exporters(environ: Mapping[str, str], signal: str) -> list[str]:
    name = f"OTEL_{signal.upper()}_EXPORTER"
    asked = list(dict.fromkeys(item.strip().lower() for item in environ.get(name, "").split(",") if item.strip()))
    for exporter in asked:
        if exporter not in _EXPORTERS:
            raise SettingError(f"{name} is {environ[name]!r}; it can be {', '.join(_EXPORTERS)}.")
    if not asked and _Variables(environ, signal).raw("ENDPOINT")[1]:
        return ["otlp"]
    return [] if "none" in asked else asked


class _Variables:
    """The OTEL_EXPORTER_OTLP_* variables of one signal: its own one first, then the one for all."""

    def __init__(self, environ: Mapping[str, str], signal: str) -> None:
        self._environ = environ
        self.signal = signal

    def raw(self, key: str) -> tuple[str, str]:
        """(name of the variable that counts, its value or "")."""
        for name in (f"{_OTLP}{self.signal.upper()}_{key}", _OTLP + key):
            value = self._environ.get(name, "").strip()
            if value:
                return name, value
        return _OTLP + key, ""

    def checked(self, key: str) -> object:
        """The value in the type that settings.py declares, or its default."""
        name, value = self.raw(key)
        setting = BY_NAME[_OTLP + key]
        return setting.check(value or setting.default, name)

    def text(self, key: str) -> str:
        """The value of a text or choice."""
        return str(self.checked(key))


def _otlp(variables: _Variables) -> Destination:
    protocol = variables.text("PROTOCOL")
    if protocol == "grpc" and importlib.util.find_spec("grpc") is None:
        name = variables.raw("PROTOCOL")[0]
        raise SettingError(f"{name} is grpc, which needs the extra: pip install 'otel-agent[grpc]'.")
    endpoint, credentials, tls = _grpc_endpoint(variables) if protocol == "grpc" else _http_endpoint(variables)
    timeout, warnings = _timeout(variables)
    host = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname or ""
    if not tls and not _is_loopback(host):
        warnings += (f"{variables.signal} go to {host} without TLS; anyone on the way can read them.",)
    return Destination(
        "otlp",
        variables.signal,
        protocol,
        endpoint,
        {**credentials, **_headers(variables)},
        timeout,
        variables.text("COMPRESSION"),
        tls,
        variables.text("CERTIFICATE"),
        variables.text("CLIENT_CERTIFICATE"),
        variables.text("CLIENT_KEY"),
        warnings,
    )


def _http_endpoint(variables: _Variables) -> tuple[str, dict[str, str], bool]:
    """(URL, headers from its credentials, whether TLS). A signal's own endpoint is used as it is; to the one for all
    signals the path /v1/<signal> is added."""
    name, value = variables.raw("ENDPOINT")
    parts = _split(name, value or "http://localhost:4318", "a URL such as http://127.0.0.1:4318")
    if parts.scheme not in ("http", "https"):
        raise SettingError(f"{name} must be a URL that starts with http:// or https://.")
    path = parts.path
    if name == f"{_OTLP}ENDPOINT":
        path = f"{path.rstrip('/')}/v1/{variables.signal}"
    query = f"?{parts.query}" if parts.query else ""
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path or '/'}{query}"
    return url, _credentials(parts.username, parts.password), parts.scheme == "https"


def _grpc_endpoint(variables: _Variables) -> tuple[str, dict[str, str], bool]:
    """(host:port, headers from its credentials, whether TLS): the scheme says, without one INSECURE does."""
    name, value = variables.raw("ENDPOINT")
    value = value or "http://localhost:4317"
    with_scheme = value if "://" in value else f"//{value}"
    parts = _split(name, with_scheme, "an address such as http://127.0.0.1:4317 or 127.0.0.1:4317")
    if parts.scheme not in ("", "http", "https"):
        raise SettingError(f"{name} must be host:port or a URL that starts with http:// or https://.")
    tls = parts.scheme == "https" if parts.scheme else not variables.checked("INSECURE")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 4317)
    return f"{host}:{port}", _credentials(parts.username, parts.password), tls


def _split(name: str, value: str, wanted: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0) and value.isprintable()
    except ValueError:
        usable = False
    if not usable or " " in value:
        raise SettingError(f"{name} must be {wanted}.")  # without the value: it may hold credentials
    return parts


def _credentials(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _headers(variables: _Variables) -> dict[str, str]:
    name, value = variables.raw("HEADERS")
    headers: dict[str, str] = {}
    for item in value.split(","):
        if not item.strip():
            continue
        key, separator, text = item.partition("=")
        key, text = unquote(key.strip()).lower(), unquote(text.strip())
        is_token = key.isascii() and key.replace("-", "").replace("_", "").replace(".", "").isalnum()
        # The item is not shown: values are credentials.
        if not separator or not is_token:
            raise SettingError(f"{name} must be a list of name=value, separated by commas.")
        if not text.isprintable() or not text.isascii():
            raise SettingError(f"{name} has a value for {key} that no header can have.")
        headers[key] = text
    return headers


def _timeout(variables: _Variables) -> tuple[float, tuple[str, ...]]:
    """(seconds, warnings). Milliseconds by specification; below 100 somebody meant seconds, as older SDKs did."""
    name, value = variables.raw("TIMEOUT")
    number = variables.checked("TIMEOUT")
    assert isinstance(number, int | float)
    if number <= 0:
        raise SettingError(f"{name} is {value!r}; it must be above 0.")
    if number < 100:
        return float(number), (f"{name} is {value}, read as seconds; OpenTelemetry means milliseconds.",)
    return number / 1000, ()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
