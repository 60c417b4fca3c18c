"""What an OTLP request says, as plain dataclasses a test can compare. Shapes follow opentelemetry-proto."""

from dataclasses import dataclass, field
from typing import Any

Attributes = dict[str, Any]


@dataclass(frozen=True)
class Scope:
    """Instrumentation scope of a span, metric or log; empty strings when not sent."""

    name: str = ""
    version: str = ""
    schema_url: str = ""
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class ReceivedEvent:
    """One event of a span; `time` in nanoseconds since the epoch."""

    name: str
    attributes: Attributes
    time: int


@dataclass(frozen=True)
class ReceivedLink:
    """One link of a span; ids in hex."""

    trace_id: str
    span_id: str
    attributes: Attributes
    trace_state: str = ""


@dataclass(frozen=True)
class ReceivedSpan:
    """One span. Ids in hex, `parent_span_id` is "" for a root; times in nanoseconds since the epoch.

    `kind` is INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER or UNSPECIFIED; `status_code` is UNSET, OK or ERROR.
    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_span_id: str
    attributes: Attributes
    events: list[ReceivedEvent]
    links: list[ReceivedLink]
    status_code: str
    status_message: str
    start: int
    end: int
    scope: Scope
    resource: Attributes
    trace_state: str = ""
    flags: int = 0


@dataclass(frozen=True)
class ReceivedExemplar:
    """One exemplar of a point; ids are "" when it was measured outside a span."""

    value: float
    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True)
class ReceivedPoint:
    """One data point. Numbers fill `value`; histograms fill `sum`, `count`, `bucket_counts` and `bounds`.

    An exponential histogram has its positive buckets in `bucket_counts`, from index `offset` at `scale`.
    A summary fills `sum`, `count` and `quantiles`.
    """

    attributes: Attributes
    start: int
    time: int
    value: int | float | None = None
    sum: float | None = None
    count: int | None = None
    min: float | None = None
    max: float | None = None
    bucket_counts: list[int] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)
    scale: int | None = None
    offset: int = 0
    zero_count: int = 0
    quantiles: dict[float, float] = field(default_factory=dict)
    exemplars: list[ReceivedExemplar] = field(default_factory=list)


@dataclass(frozen=True)
class ReceivedMetric:
    """One metric of one request. `type` is gauge, sum, histogram, exponential_histogram or summary.

    `temporality` is CUMULATIVE, DELTA or, for gauges and summaries, "".
    """

    name: str
    type: str
    unit: str
    points: list[ReceivedPoint]
    resource: Attributes
    scope: Scope
    description: str = ""
    temporality: str = ""
    monotonic: bool = False


@dataclass(frozen=True)
class ReceivedLog:
    """One log record. `severity` is the number of the log data model, 1 (TRACE) to 24 (FATAL4), 0 when not sent."""

    body: Any
    severity: int
    severity_text: str
    attributes: Attributes
    trace_id: str
    span_id: str
    resource: Attributes
    event_name: str
    scope: Scope
    time: int = 0
    observed_time: int = 0
