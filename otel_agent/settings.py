"""Every setting once: name, type, default, meaning. Read by supervisor, worker, hub and the README's table.

Precedence: command line (which the supervisor writes into the environment), environment variable, alias, default.
Stdlib only and cheap to import: every Python process under the agent reads this module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class SettingError(ValueError):
    """A setting has a value it cannot have; the text is one sentence that names it."""


class Setting:
    """One setting.

    kind: text, flag, integer, number, duration, list, mapping or choice.
    option: the command line's word for it, without dashes; empty when it has none.
    aliases: other variables read when `name` is unset, in order.
    """

    __slots__ = ("aliases", "choices", "default", "doc", "kind", "maximum", "minimum", "name", "option")

    def __init__(
        self,
        name: str,
        kind: str,
        default: str,
        doc: str,
        *,
        option: str = "",
        aliases: tuple[str, ...] = (),
        choices: tuple[str, ...] = (),
        minimum: float | None = None,
        maximum: float | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.doc = doc
        self.option = option
        self.aliases = aliases
        self.choices = choices
        self.minimum = minimum
        self.maximum = maximum

    def check(self, value: str, origin: str) -> object:
        """`value` as this setting's type; SettingError when it is none. Units: durations are seconds."""
        if self.kind == "flag":
            return self._flag(value, origin)
        if self.kind in ("integer", "number"):
            return self._number(value, origin)
        if self.kind == "duration":
            return self._duration(value, origin)
        if self.kind == "list":
            return tuple(item.strip() for item in value.split(",") if item.strip())
        if self.kind == "mapping":
            return self._mapping(value, origin)
        if self.kind == "choice" and value.lower() not in self.choices:
            raise SettingError(f"{origin} is {value!r}; it can be {', '.join(self.choices)}.")
        return value.lower() if self.kind == "choice" else value

    def _flag(self, value: str, origin: str) -> bool:
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise SettingError(f"{origin} is {value!r}; it can be true or false.")

    def _number(self, value: str, origin: str) -> int | float:
        try:
            number: int | float = int(value) if self.kind == "integer" else float(value)
        except ValueError:
            kind = "a whole number" if self.kind == "integer" else "a number"
            raise SettingError(f"{origin} is {value!r}; it must be {kind}.") from None
        self._check_range(number, value, origin)
        return number

    def _check_range(self, number: float, value: str, origin: str) -> None:
        if number != number or (self.minimum is not None and number < self.minimum):
            raise SettingError(f"{origin} is {value!r}; it must be at least {self.minimum:g}.")
        if self.maximum is not None and number > self.maximum:
            raise SettingError(f"{origin} is {value!r}; it must be at most {self.maximum:g}.")

    def _duration(self, value: str, origin: str) -> float:
        text = value.strip()
        for unit in ("ms", "s", "m", "h", "d"):
            if text.endswith(unit):
                try:
                    seconds = float(text[: -len(unit)]) * _UNITS[unit]
                except ValueError:
                    break
                self._check_range(seconds, value, origin)
                return seconds
        raise SettingError(f"{origin} is {value!r}; it must be a duration such as 500ms, 30s, 5m, 4h or 7d.")

    def _mapping(self, value: str, origin: str) -> dict[str, str]:
        from urllib.parse import unquote

        pairs: dict[str, str] = {}
        for item in value.split(","):
            if not item.strip():
                continue
            key, separator, text = item.partition("=")
            if not separator or not key.strip():
                # The item is not shown: in a list of headers it may be a credential.
                raise SettingError(f"{origin} must be a list of key=value, separated by commas.")
            pairs[key.strip()] = unquote(text.strip())
        return pairs


S = Setting
SETTINGS: tuple[Setting, ...] = (
    S("OTEL_AGENT_ENABLED", "flag", "true", "`false`: the command runs untouched, without hub and injection."),
    S("OTEL_SDK_DISABLED", "flag", "false", "`true`: the same, by OpenTelemetry's own name."),
    S("OTEL_SERVICE_NAME", "text", "", "Name of the service; by default that of the script, module or program.",
      option="service-name"),
    S("OTEL_RESOURCE_ATTRIBUTES", "mapping", "", "Attributes of the service, `key=value,key=value`.",
      option="resource-attributes"),
    S("APP_VERSION", "text", "", "`service.version`, unless the attributes name it.", option="service-version"),
    S("SENTRY_ENVIRONMENT", "text", "development", "`deployment.environment.name`, unless the resource attributes "
      "name it.", option="environment", aliases=("ENVIRONMENT", "NODE_ENV")),
    S("OTEL_EXPORTER_PROMETHEUS_HOST", "text", "127.0.0.1", "Address the hub listens on.", option="prometheus-host"),
    S("OTEL_EXPORTER_PROMETHEUS_PORT", "integer", "9464", "Port of `/metrics`, `/health` and the rest; a busy one "
      "means the next free one.", option="prometheus-port", aliases=("METRICS_PORT",), minimum=0, maximum=65535),
    S("OTEL_AGENT_PORT_TRIES", "integer", "20", "How many ports are tried after a busy one.", minimum=1, maximum=1000),
    S("ENABLE_METRICS", "flag", "true", "`false`: no metrics, `/metrics` answers 404."),
    S("OTEL_AGENT_ALLOWED_HOSTS", "list", "localhost,127.0.0.1,[::1]", "Host headers the hub answers, besides IP "
      "addresses."),
    S("OTEL_EXPORTER_OTLP_ENDPOINT", "text", "", "OTLP collector, such as `http://127.0.0.1:4318`; unset means no "
      "export.", option="otlp-endpoint"),
    S("OTEL_EXPORTER_OTLP_PROTOCOL", "choice", "http/protobuf", "Protocol of the export; `grpc` needs the extra "
      "`[grpc]`.", option="otlp-protocol", choices=("http/protobuf", "http/json", "grpc")),
    S("OTEL_EXPORTER_OTLP_HEADERS", "mapping", "", "Headers of each export request, `key=value,key=value`."),
    S("OTEL_EXPORTER_OTLP_TIMEOUT", "number", "10000", "Milliseconds one export may take; values below 100 are read "
      "as seconds.", minimum=0),
    S("OTEL_EXPORTER_OTLP_COMPRESSION", "choice", "gzip", "Compression of export requests.",
      choices=("gzip", "none", "deflate")),
    S("OTEL_EXPORTER_OTLP_INSECURE", "flag", "false", "gRPC without TLS for an endpoint without a scheme."),
    S("OTEL_EXPORTER_OTLP_CERTIFICATE", "text", "", "File of certificates to trust (PEM)."),
    S("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "text", "", "Client certificate file (PEM)."),
    S("OTEL_EXPORTER_OTLP_CLIENT_KEY", "text", "", "Client key file (PEM)."),
    S("OTEL_TRACES_EXPORTER", "list", "", "`otlp`, `console` or `none`; by default otlp when an endpoint is set."),
    S("OTEL_METRICS_EXPORTER", "list", "", "The same for metrics; `prometheus` is always on."),
    S("OTEL_LOGS_EXPORTER", "list", "", "The same for logs."),
    S("OTEL_METRIC_EXPORT_INTERVAL", "number", "60000", "Milliseconds between metric exports.", minimum=1),
    S("OTEL_METRIC_EXPORT_TIMEOUT", "number", "30000", "Milliseconds a metric export may take.", minimum=1),
    S("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "choice", "cumulative", "Temporality of exported metrics.",
      choices=("cumulative", "delta", "lowmemory")),
    S("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "choice", "explicit_bucket_histogram",
      "Aggregation of exported histograms.",
      choices=("explicit_bucket_histogram", "base2_exponential_bucket_histogram")),
    S("OTEL_BSP_SCHEDULE_DELAY", "number", "5000", "Milliseconds a span waits for its batch.", minimum=0),
    S("OTEL_BSP_EXPORT_TIMEOUT", "number", "30000", "Accepted; the export's own timeout bounds an export.", minimum=0),
    S("OTEL_BSP_MAX_QUEUE_SIZE", "integer", "2048", "Spans that wait for a batch.", minimum=1),
    S("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "integer", "512", "Spans in one export request.", minimum=1),
    S("OTEL_BLRP_SCHEDULE_DELAY", "number", "1000", "Milliseconds a log record waits for its batch.", minimum=0),
    S("OTEL_BLRP_EXPORT_TIMEOUT", "number", "30000", "Accepted; the export's own timeout bounds an export.", minimum=0),
    S("OTEL_BLRP_MAX_QUEUE_SIZE", "integer", "2048", "Log records that wait for a batch.", minimum=1),
    S("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "integer", "512", "Log records in one export request.", minimum=1),
    S("OTEL_TRACES_SAMPLER", "text", "parentbased_always_on", "Sampler of new traces; metrics are exact at any rate.",
      option="sampler"),
    S("OTEL_TRACES_SAMPLER_ARG", "text", "", "Its argument: a ratio from 0 to 1.", option="sampler-arg"),
    S("OTEL_PROPAGATORS", "list", "tracecontext,baggage", "Propagators of the trace context; others than these need "
      "their package.", option="propagators"),
    S("OTEL_PYTHON_ID_GENERATOR", "text", "random", "Id generator, an entry point's name."),
    S("OTEL_ATTRIBUTE_COUNT_LIMIT", "integer", "128", "Attributes on one span or log record.", minimum=0),
    S("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "integer", "4096", "Characters in one attribute value.", minimum=0),
    S("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "integer", "", "The same for spans only.", minimum=0),
    S("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "integer", "", "The same for spans only.", minimum=0),
    S("OTEL_SPAN_EVENT_COUNT_LIMIT", "integer", "128", "Events on one span.", minimum=0),
    S("OTEL_SPAN_LINK_COUNT_LIMIT", "integer", "128", "Links on one span.", minimum=0),
    S("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "integer", "128", "Attributes on one event.", minimum=0),
    S("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "integer", "128", "Attributes on one link.", minimum=0),
    S("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "list", "", "Libraries to leave alone; `*` for all.",
      option="disabled-instrumentations"),
    S("OTEL_AGENT_INSTRUMENTATIONS", "list", "*", "The only libraries to instrument.", option="instrumentations"),
    S("OTEL_PYTHON_EXCLUDED_URLS", "list", "", "Patterns of URLs without span and metric; "
      "`OTEL_PYTHON_<LIB>_EXCLUDED_URLS` for one library."),
    S("OTEL_AGENT_GENAI_SEMCONV", "choice", "dup", "Names of GenAI metrics: latest, 1.36 or both.",
      choices=("latest", "1.36", "dup")),
    S("OTEL_AGENT_METRIC_INTERVAL", "duration", "5s", "How often observable instruments of the app are read.",
      minimum=0.1),
    S("OTEL_AGENT_SHUTDOWN_TIMEOUT", "duration", "2s", "How long the command may go on after the app's end to deliver "
      "the rest.", minimum=0),
    S("OTEL_AGENT_QUIET", "flag", "false", "No start line on a terminal.", option="quiet"),
    S("OTEL_AGENT_DEBUG", "flag", "false", "Say what the agent does on stderr.", option="debug"),
)  # fmt: skip
BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}
BY_OPTION: dict[str, Setting] = {setting.option: setting for setting in SETTINGS if setting.option}


def _generic(variable: str) -> str:
    """The variable for all signals that one signal's own OTLP variable overrides; "" when it is none."""
    for signal in ("TRACES_", "METRICS_", "LOGS_"):
        if variable.startswith(f"OTEL_EXPORTER_OTLP_{signal}"):
            return variable.replace(signal, "", 1)
    return ""


class Settings:
    """The resolved settings of one process. Values are checked when they are read; `validate` checks all."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._values: dict[str, object] = {}

    def origin(self, name: str) -> str:
        """The variable that gives `name` its value, or "default". An empty variable counts as unset."""
        for variable in (name, *BY_NAME[name].aliases):
            if self._environ.get(variable):
                return variable
        return "default"

    def value(self, name: str) -> object:
        """The value in the setting's type. Raises SettingError for a bad one, KeyError for an undeclared name."""
        if name not in self._values:
            setting = BY_NAME[name]
            origin = self.origin(name)
            raw = setting.default if origin == "default" else self._environ[origin]
            if raw == "" and setting.kind in ("integer", "number", "duration"):
                self._values[name] = None
            else:
                self._values[name] = setting.check(raw, origin)
        return self._values[name]

    def text(self, name: str) -> str:
        """A text or choice."""
        value = self.value(name)
        assert isinstance(value, str), name
        return value

    def flag(self, name: str) -> bool:
        """A boolean."""
        value = self.value(name)
        assert isinstance(value, bool), name
        return value

    def integer(self, name: str) -> int:
        """A whole number."""
        value = self.value(name)
        assert isinstance(value, int), name
        return value

    def optional_integer(self, name: str) -> int | None:
        """A whole number, or None when it is unset and has no default."""
        return None if self.value(name) is None else self.integer(name)

    def seconds(self, name: str) -> float:
        """A duration in seconds; numbers are declared in milliseconds (OTEL_*) and converted."""
        value = self.value(name)
        assert isinstance(value, int | float), name
        return value / 1000 if BY_NAME[name].kind == "number" else float(value)

    def items(self, name: str) -> tuple[str, ...]:
        """A list."""
        value = self.value(name)
        assert isinstance(value, tuple), name
        return value

    def mapping(self, name: str) -> dict[str, str]:
        """A list of key=value pairs."""
        value = self.value(name)
        assert isinstance(value, dict), name
        return value

    def validate(self) -> None:
        """Read every setting; raises the SettingError of the first bad one."""
        for setting in SETTINGS:
            self.value(setting.name)
        for variable, value in self._environ.items():
            generic = BY_NAME.get(_generic(variable))
            if generic is not None and value:
                generic.check(value, variable)

    @property
    def disabled(self) -> bool:
        """Whether the command is to run untouched."""
        return not self.flag("OTEL_AGENT_ENABLED") or self.flag("OTEL_SDK_DISABLED")


def load(environ: Mapping[str, str]) -> Settings:
    """The settings of an environment."""
    return Settings(environ)
