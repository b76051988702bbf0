"""How many requests in flight at once make more of them come through. Pure."""

from __future__ import annotations

#: Where the climb begins. One sender alone leaves the line idle while it reads its next batch and writes the ledger.
FIRST_LEVEL = 2
#: A round is at least so many requests and seconds long, and this share of the ideal gain makes it go on.
ROUND_REQUESTS, ROUND_SECONDS, WORTH = 12, 0.25, 0.25
#: A step that did not pay is tried again, as a smaller one, after so many rounds: at first, and at most.
FIRST_REST, LAST_REST = 8, 32


class Climb:
    """The number of requests in flight up to which more of them make more come through."""

    def __init__(self, most: int) -> None:
        self.level = min(FIRST_LEVEL, most)
        self._most = most
        self._base: tuple[int, float] | None = None  # while a higher level is tried: the one before, and its throughput
        self._rest, self._rests, self._part = 0, FIRST_REST, 1
        self._start: float | None = None
        self._skip = self._count = 0

    def restart(self) -> None:
        """Begin the round anew: something else than the level had its effect on the throughput."""
        self._start, self._skip = None, self.level

    def accepted(self, now: float) -> None:
        """One request came through."""
        if self._start is None:
            self._skip -= 1  # those that left before the level was what it is
            if self._skip <= 0:
                self._start, self._count = now, 0
            return
        self._count += 1
        seconds = now - self._start
        if self._count >= max(ROUND_REQUESTS, 3 * self.level) and seconds >= ROUND_SECONDS:
            self._judge(self._count / seconds)
            self.restart()

    def _judge(self, throughput: float) -> None:
        if self._base is None:
            self._rest -= 1
        else:
            level, before = self._base
            if throughput < before * (1 + WORTH * (self.level / level - 1)):
                self.level, self._base = level, None
                self._rest, self._rests = self._rests, min(2 * self._rests, LAST_REST)
                self._part = self._part * 2 if self._part < self.level else 2
            else:
                self._rest, self._rests = 0, FIRST_REST
        if self._rest <= 0 and self.level < self._most:
            self._base = self.level, throughput
            self.level = min(self.level + max(1, self.level // self._part), self._most)
        elif self._rest <= 0:
            self._base = None
