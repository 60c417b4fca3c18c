"""When the next request may be sent: back-off, breaker and the ramp after an outage (RELIABILITY section 7)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST, FACTOR, CAP = 1.0, 1.5, 60.0
BREAKER_PAUSES = (60.0, 300.0, 900.0)
BREAKER_DROPS = 10
FASTEST = 64.0  # requests per second at which the ramp ends


class Pacing:
    """The state of one destination and signal. Times are seconds on a monotonic clock; `uniform` is random.uniform."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._uniform = uniform
        self._delay = 0.0
        self._breaks = 0
        self._drops = 0
        self._rate = 0.0  # requests per second; 0 is no limit
        self._not_before = 0.0
        self.failing = False

    def wait(self) -> float:
        """Seconds until the next request may be sent."""
        return max(self._not_before - self._clock(), 0.0)

    @property
    def breaker_open(self) -> bool:
        """Whether the next request is a probe after refused ones."""
        return self._breaks > 0

    def success(self) -> None:
        """A request was delivered. After an outage the next ones go at 1 a second, twice as many after each success."""
        if self.failing:
            self._rate = 1.0
        elif self._rate:
            self._rate = self._rate * 2 if self._rate * 2 < FASTEST else 0.0
        self.failing = False
        self._delay = self._breaks = self._drops = 0
        self._not_before = self._clock() + (1 / self._rate if self._rate else 0.0)

    def failure(self, asked: float | None = None) -> None:
        """A request is to be sent again, after what the collector asked for or the next step of the back-off."""
        self.failing = True
        self._delay = min(self._delay * FACTOR, CAP) if self._delay else FIRST
        pause = self._delay * self._uniform(0.8, 1.2) if asked is None else asked * self._uniform(0.9, 1.1)
        self._not_before = self._clock() + pause

    def dropped(self) -> None:
        """A request was answered for good, with an error; ten in a row open the breaker."""
        self._drops += 1
        if self._drops >= BREAKER_DROPS or self._breaks:
            self.refused()
        else:
            self.failing = False
            self._delay = 0.0

    def refused(self) -> None:
        """Credentials were refused: the breaker opens, or stays open for longer."""
        self.failing = True
        self._not_before = self._clock() + BREAKER_PAUSES[min(self._breaks, len(BREAKER_PAUSES) - 1)]
        self._breaks += 1
