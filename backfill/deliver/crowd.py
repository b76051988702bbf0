"""How many requests at once a target takes, where that is what it limits. Pure."""

from __future__ import annotations

from collections import Counter, deque

#: It is counted how many were accepted and refused at each number in flight; after so many requests all counts are
#: halved. More bear chance refusals better, fewer find a lower limit sooner.
COUNTED = 50
#: From a number on so many refused, and more than were accepted, show that it is too high.
REFUSED = 2
#: If below it more than this share was refused as well, the number in flight is not what matters.
BELOW = 0.02
#: So many refusals in a row, however rare, show it as well, if of all the requests accepted between them, at least so
#: many, no more than that share left as high in number as the lowest of them. Some do: an answer was on its way.
ROW, BETWEEN, AS_HIGH = 3, 100, 0.1


class Crowd:
    """Finds the number in flight above which most are refused, and below which hardly any is.

    That tells a limit of requests at once from one of requests a second, and both from chance, by a few requests.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._accepted = [0.0] * (most + 1)
        self._refused = [0.0] * (most + 1)
        self._count = 0
        self._row: deque[tuple[int, Counter[int]]] = deque(maxlen=ROW)  # refused, and those accepted since then
        self.level: int | None = None  # None: no limit was found

    def accepted(self, together: int) -> None:
        """One that left as the so manieth in flight was accepted."""
        if self._row:
            self._row[-1][1][together] += 1
        self._counted(self._accepted, together)

    def refused(self, together: int) -> bool:
        """One that left as the so manieth was refused; whether that shows the limit, which is then the level."""
        self._counted(self._refused, together)
        self._row.append((together, Counter()))
        found = self._mostly() or self._in_a_row()
        if found:
            self.level = found
            self._row.clear()
            for number in range(found + 1, self._most + 1):
                self._accepted[number] = self._refused[number] = 0.0
        return bool(found)

    def _mostly(self) -> int:
        """The number above which most were refused of late, and up to which hardly any was; 0: there is none."""
        all_refused, all_accepted = sum(self._refused), sum(self._accepted)
        refused = accepted = 0.0
        found = 0
        for number in range(self._most, 1, -1):
            refused += self._refused[number]
            accepted += self._accepted[number]
            most_are = refused >= max(REFUSED, accepted)
            if self._refused[number] and most_are and all_refused - refused <= BELOW * (all_accepted - accepted):
                found = number - 1
        return found

    def _in_a_row(self) -> int:
        """The number above which all of the last few refusals were, but hardly any other request; 0: there is none."""
        if len(self._row) < ROW:
            return 0
        lowest = min(number for number, _ in self._row)
        accepted: Counter[int] = sum((between for _, between in self._row), Counter())
        as_high = sum(count for number, count in accepted.items() if number >= lowest)
        return lowest - 1 if accepted.total() >= BETWEEN and as_high <= AS_HIGH * accepted.total() else 0

    def refuted(self) -> bool:
        """Whether more than the level were taken after all, of late."""
        return self.level is not None and sum(self._accepted[self.level + 1 :]) >= REFUSED

    def _counted(self, counts: list[float], together: int) -> None:
        counts[min(together, self._most)] += 1
        self._count += 1
        if self._count >= COUNTED:
            self._count = 0
            self._accepted = [number / 2 for number in self._accepted]
            self._refused = [number / 2 for number in self._refused]
