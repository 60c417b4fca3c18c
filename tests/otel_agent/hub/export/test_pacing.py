"""When the next request may go, on a clock of our own."""

import pytest

from otel_agent.hub.export.pacing import Pacing


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def paced() -> tuple[Pacing, Clock]:
    clock = Clock()
    return Pacing(clock, middle), clock


def test_backoff() -> None:
    """Failures wait 1 s, then half as long again each time, at most 60 s; a success starts anew."""
    pacing, _ = paced()
    waits = []
    for _ in range(14):
        pacing.failure()
        waits.append(round(pacing.wait(), 2))
    assert waits[:5] == [1.0, 1.5, 2.25, 3.38, 5.06]
    assert waits[-1] == 60.0
    pacing.success()
    assert not pacing.failing
    pacing.failure()
    assert round(pacing.wait(), 2) == 1.0


@pytest.mark.parametrize(("asked", "low", "high"), [(None, 0.8, 1.2), (100.0, 90.0, 110.0)])
def test_jitter(asked: float | None, low: float, high: float) -> None:
    """Back-off varies by 20 %, an asked wait by 10 %."""
    clock = Clock()
    for pick, expected in ((min, low), (max, high)):
        pacing = Pacing(clock, lambda a, b, pick=pick: pick(a, b))  # type: ignore[misc]
        pacing.failure(asked)
        assert round(pacing.wait(), 6) == expected


def test_ramp() -> None:
    """After an outage requests go at 1 per second, twice as many after each success, until there is no limit."""
    pacing, clock = paced()
    pacing.failure()
    clock.now += 1
    waits = []
    for _ in range(8):
        pacing.success()
        waits.append(round(pacing.wait(), 4))
        clock.now += pacing.wait()
    assert waits == [1.0, 0.5, 0.25, 0.125, 0.0625, 0.0312, 0.0, 0.0]


def test_breaker_of_refused_credentials() -> None:
    """Refused credentials open the breaker for 60 s, 5 min, 15 min; a success closes it."""
    pacing, _ = paced()
    waits = []
    for _ in range(4):
        pacing.refused()
        waits.append(pacing.wait())
    assert waits == [60.0, 300.0, 900.0, 900.0]
    assert pacing.breaker_open
    pacing.success()
    assert not pacing.breaker_open


def test_breaker_of_drops() -> None:
    """Ten drops in a row open the breaker; fewer, or with a success between, do not even slow down."""
    pacing, _ = paced()
    for _ in range(9):
        pacing.dropped()
    assert pacing.wait() == 0
    pacing.success()
    for _ in range(9):
        pacing.dropped()
    assert not pacing.breaker_open
    pacing.dropped()
    assert (pacing.breaker_open, pacing.wait()) == (True, 60.0)
    pacing.dropped()
    assert pacing.wait() == 300.0
