"""The table of the benchmark, and its targets: met or not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.contest import Result

SDK = "segment-analytics-python"
SCRIPT = "hand-written script"


@dataclass(frozen=True)
class Check:
    """One target: what, the figure reached, its bound."""

    what: str
    reached: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of its bound."""
        return self.reached >= self.bound if self.at_least else self.reached <= self.bound

    def line(self) -> str:
        """For people."""
        sign = ">=" if self.at_least else "<="
        return f"{'met    ' if self.met else 'NOT MET'}  {self.what}: {self.reached:.2f} (target {sign} {self.bound:g})"


def table(results: Mapping[str, Result]) -> str:
    """One line for each entrant."""
    columns = ("", "rows", "s", "calls/s", "CPU s/M", "peak MB", "requests", "MB received", "x SDK", "x script")
    lines = [f"{columns[0]:<26}" + "".join(f"{name:>12}" for name in columns[1:])]
    for result in results.values():
        silent = max(result.requests) == 0
        cells = (
            f"{result.rows:,}", f"{result.wall:.2f}", f"{result.speed:,.0f}", f"{result.cpu_per_million:.2f}",
            f"{result.peak:.0f}", f"{max(result.requests):,}", f"{max(result.megabytes_received):.0f}",
            ratio(results, result, SDK, silent=silent),
            ratio(results, result, SCRIPT, silent=silent and "again" in result.name),
        )  # fmt: skip
        lines.append(f"{result.name:<26}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def ratio(results: Mapping[str, Result], result: Result, peer: str, *, silent: bool) -> str:
    """How many times as fast as the peer; nothing where the entrant sent nothing and so did not do the same."""
    return "" if silent or peer not in results else f"{result.speed / results[peer].speed:.1f}"


def checks(results: Mapping[str, Result]) -> Iterator[Check]:
    """The targets for which this contest has figures."""
    plain, again, packed = results["backfill"], results["backfill again"], results["backfill gzip"]
    dry = results["backfill dry-run"]
    # The default run compresses, the peers' defaults do not: both forms are compared.
    yield Check("times segment-analytics-python", plain.speed / results[SDK].speed, 13, at_least=True)
    yield Check("times the script, default run (gzip)", packed.speed / results[SCRIPT].speed, 3, at_least=True)
    yield Check("times the script, plain", plain.speed / results[SCRIPT].speed, 3, at_least=True)
    yield Check("dry-run, times the script", dry.speed / results[SCRIPT].speed, 5, at_least=True)
    yield Check("CPU seconds a million, plain", plain.cpu_per_million, 6.5, at_least=False)
    yield Check("CPU seconds a million, gzip", packed.cpu_per_million, 8, at_least=False)
    yield Check("peak MB", plain.peak, 550, at_least=False)
    yield Check("seconds to run again", again.wall, 2, at_least=False)
    yield Check("requests of running again", max(again.requests), 0, at_least=False)
    for name in ("backfill 4 M", "backfill 8 M"):
        if name in results:
            yield Check(
                f"peak of {name[9:]} rows over that of 1 M", results[name].peak / plain.peak, 1.1, at_least=False
            )
