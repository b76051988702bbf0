"""Time and chance as whatever waits or ages takes them, so that tests can replace them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from backfill.frozen import frozen


def system_boot() -> tuple[str, float]:
    """Which boot of which machine this is, and the seconds since, suspended time included.

    ("", 0.0) where the system does not say: only Linux does.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return boot, time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, ValueError, AttributeError):
        return "", 0.0


@frozen
class Clock:
    """Time and chance, to be replaced in tests: POSIX seconds, seconds that never jump, sleep, [0, 1), and the boot."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random
    boot: Callable[[], tuple[str, float]] = system_boot
