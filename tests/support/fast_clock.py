"""A clock that runs faster, for what the program waits for: minutes of backing off are over in moments."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from backfill.clock import Clock
from backfill.deliver import DeliveryEnd, DeliveryOptions, deliver
from backfill.pipeline import deliver as deliver_step


class FastClock:
    """Seconds since it was made, `scale` of them in a real one. What time of day it is, is as everywhere."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._began = time.monotonic()

    def passed(self) -> float:
        """Seconds on this clock."""
        return (time.monotonic() - self._began) * self.scale

    def sleep(self, seconds: float) -> None:
        """Wait for so many of them."""
        time.sleep(seconds / self.scale)

    def clock(self) -> Clock:
        """To be handed in."""
        return Clock(monotonic=self.passed, sleep=self.sleep)


def deliver_fast(monkeypatch: pytest.MonkeyPatch, scale: float, **changes: Any) -> FastClock:
    """Have the program deliver by such a clock, with these options changed and all else as it is.

    Sockets have real time, whatever the clock says; so has the time that a stop gives to what is in flight.
    """
    made = FastClock(scale)

    def fast(*, options: DeliveryOptions, **rest: Any) -> DeliveryEnd:
        changed = replace(options, grace_seconds=options.grace_seconds * scale, **changes)
        return deliver(**rest | {"options": changed, "clock": made.clock()})

    monkeypatch.setattr(deliver_step, "deliver", fast)
    return made
