"""How many requests at once a target takes, where that is what it limits. Pure."""

from __future__ import annotations

#: It is counted how many were accepted and refused at each number in flight; after so many requests all counts are
#: halved. More bear chance refusals better, fewer find a lower limit sooner.
COUNTED = 50
#: From a number on so many refused, and more than were accepted, show that it is too high.
REFUSED = 2
#: If below it more than this share was refused as well, the number in flight is not what matters.
BELOW = 0.02


class Crowd:
    """Finds the number in flight above which most are refused, and below which hardly any is.

    That tells a limit of requests at once from one of requests a second, and both from chance, by a few requests.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._accepted = [0.0] * (most + 1)
        self._refused = [0.0] * (most + 1)
        self._count = 0
        self.level: int | None = None  # None: no limit was found

    def accepted(self, together: int) -> None:
        """One that left as the so manieth in flight was accepted."""
        self._counted(self._accepted, together)

    def refused(self, together: int) -> bool:
        """One that left as the so manieth was refused; whether that shows the limit, which is then the level."""
        self._counted(self._refused, together)
        all_refused, all_accepted = sum(self._refused), sum(self._accepted)
        refused = accepted = 0.0
        found = None
        for number in range(self._most, 1, -1):
            refused += self._refused[number]
            accepted += self._accepted[number]
            most_are = refused >= max(REFUSED, accepted)
            if self._refused[number] and most_are and all_refused - refused <= BELOW * (all_accepted - accepted):
                found = number - 1
        if found is None:
            return False
        self.level = found
        for number in range(found + 1, self._most + 1):
            self._accepted[number] = self._refused[number] = 0.0
        return True

    def highest(self) -> int:
        """The highest number up to the level at which any was accepted, of late; 0: none."""
        return max((number for number in range(1, (self.level or 0) + 1) if self._accepted[number]), default=0)

    def refuted(self) -> bool:
        """Whether more than the level were taken after all, of late."""
        return self.level is not None and sum(self._accepted[self.level + 1 :]) >= REFUSED

    def clean(self) -> bool:
        """Whether nothing at all was refused up to the level, of late."""
        return self.level is not None and not any(self._refused[: self.level + 1])

    def _counted(self, counts: list[float], together: int) -> None:
        counts[min(together, self._most)] += 1
        self._count += 1
        if self._count >= COUNTED:
            self._count = 0
            self._accepted = [number / 2 for number in self._accepted]
            self._refused = [number / 2 for number in self._refused]
