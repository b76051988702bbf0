"""A level that a target refused once, and how to come back to it. Pure."""

from __future__ import annotations

import math

#: So many requests make a window, and so many refused within it (beyond twice those by chance) too many.
WINDOW, TOO_MANY = 200, 4
#: Where more than this share is refused, the level is lowered to what came through. Else it is tried how much is
#: refused at that share of the level; where it is less than that share of what was, the level is lowered by so much.
DENSE, TRIED, FEWER, LOWERED = 0.1, 0.6, 0.34, 0.94
#: A target that counts by the second refuses all the rest of it: what that tells was known already.
SAME_SECOND = 1.0
#: What a probe that was refused had come to is good at this share of it.
BELOW = 0.92
#: How long a ceiling stays at what is known to be good before it tries more, in seconds: at first, and at most.
FIRST_HOLD, LAST_HOLD = 5.0, 60.0
#: A halving lasts two round trips, and at least so many seconds; the next one begins after so many times as long.
LEAST_DIP, BETWEEN = 0.1, 10
#: So many refusals at once are not too many for chance, where there are any by chance.
AT_ONCE, OVER, FADING = 4.0, 3.0, 0.7


class Ceiling:
    """A level that halves when refused, comes back to what is known to be good, stays there, and then tries more."""

    def __init__(self) -> None:
        self.known: float | None = None  # None: no ceiling
        self.chance = 0.0  # the share of requests that is refused whether many or few are sent
        self._sure = 0.0  # the part of it that a trial has shown
        self._allowance = 0.0
        self._trial: tuple[int, int] | None = (
            None  # while less is tried: the requests before, and how many were refused
        )
        self._accepted_at = self._since = self._dip_at = self._dip_until = -math.inf
        self._probe_at = math.inf
        self._holds = FIRST_HOLD
        self._count = self._refused = 0

    def level(self, now: float) -> float:
        """What is allowed at that time; infinite without a ceiling."""
        if self.known is None:
            return math.inf
        level = self.known
        if self._trial is not None:
            level *= TRIED
        elif now > self._probe_at:
            over = now - self._probe_at
            level *= 1 + 0.01 * over * (1 + (over / 3) ** 2)
        return level / 2 if now < self._dip_until else level

    def ended(self, left: float, now: float, *, refused: bool, most: float, good: float, round_trip: float) -> None:
        """A request that left then was accepted or refused."""
        if not refused:
            self._accepted_at = now
        if left < self._since or self._dip_at <= left < self._dip_until:
            return  # it shows what another level does
        self._count += 1
        self._refused += refused
        self._allowance = min(self._allowance + OVER * self.chance, AT_ONCE if self.chance else 0.0) - refused
        over = self._allowance < 0
        self._allowance = max(self._allowance, 0.0)
        if self.known is None:
            if over:
                self._set(now, max(good, 0.75 * most))
                self._dip(now, round_trip)
        elif self._trial is not None:
            self._compare(now, *self._trial)
        elif over and left > self._probe_at:
            self._holds = min(2 * self._holds, LAST_HOLD)
            self._set(now, max(self.known, BELOW * min(self.level(left), most)))
            self._dip(now, round_trip)
        elif self._refused - 2 * self._sure * self._count >= TOO_MANY:
            self._lower(now)
        elif over:
            self._dip(now, round_trip)
        if self._count >= WINDOW and self._trial is None:
            self._close(now)

    def _close(self, now: float) -> None:
        """A window is full, and not too many of it were refused."""
        share = self._refused / self._count
        self._sure = min(self._sure, max(share, self._sure * FADING))
        self.chance = min(max(share, self.chance * FADING), max(self._sure, TOO_MANY / WINDOW))
        self._count = self._refused = 0
        if self.known is not None and self._probe_at == math.inf:
            self._probe_at = now + self._holds

    def _lower(self, now: float) -> None:
        """Too many were refused."""
        assert self.known is not None
        if now - self._accepted_at > SAME_SECOND:
            self._set(now, self.known)  # the target is down, which says nothing about what it takes
        elif self._refused > DENSE * self._count:
            self._holds = FIRST_HOLD
            self._set(now, self.known * max(0.5, 1 - self._refused / self._count))
        else:
            trial = self._count, self._refused
            self._set(now, self.known)
            self._trial = trial

    def _compare(self, now: float, count: int, refused: int) -> None:
        """Whether less was refused of less."""
        assert self.known is not None
        if self._refused >= TOO_MANY and now - self._accepted_at > SAME_SECOND:
            self._set(now, self.known)  # down, as above
        elif self._refused > FEWER * refused:
            self.chance = (self._refused + refused) / (self._count + count)
            if self.chance > DENSE:
                self.chance = self._sure = 0.0
                self._set(now, self.known * TRIED)
            else:
                self._sure = self.chance
                self._set(now, None)
        elif self._count >= count:
            self._holds = FIRST_HOLD
            self.chance = self._sure = 0.0
            self._set(now, self.known * LOWERED)

    def _set(self, now: float, known: float | None) -> None:
        self.known, self._trial, self._since, self._probe_at = known, None, now + SAME_SECOND, math.inf
        self._count = self._refused = 0
        self._allowance = AT_ONCE if self.chance else 0.0

    def _dip(self, now: float, round_trip: float) -> None:
        """Halve."""
        seconds = max(2 * round_trip, LEAST_DIP)
        if now - self._dip_until >= BETWEEN * seconds:
            self._dip_at, self._dip_until = now, now + seconds
