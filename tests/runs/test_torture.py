"""What the long sweep is made of: which failpoints it chooses, and what its tally says."""

from __future__ import annotations

from tests.torture.full_sweep import Tally, Visit, failpoints, table, visits


def test_each_step_at_its_first_last_second_and_middle_time() -> None:
    """Before each step once, then its other times, then after it; each only once."""
    points = [f"fsync a #{hit} {side}" for hit in range(1, 10) for side in ("before", "after")]
    points += ["rename b #1 before", "COMMIT c.tmp #2 after", "COMMIT c.tmp #1 after"]
    assert failpoints(points) == [
        ["fsync a #1 before", "rename b #1 before"],
        *(["fsync a #9 before"], ["fsync a #2 before"], ["fsync a #5 before"]),
        *(["COMMIT c.tmp #1 after", "fsync a #1 after"], ["COMMIT c.tmp #2 after", "fsync a #9 after"]),
        *(["fsync a #2 after"], ["fsync a #5 after"]),
    ]
    assert sorted(point for some in failpoints(points, every=True) for point in some) == sorted(points)


def test_visits_are_numbered_through() -> None:
    """The first of every scenario, then what is left of them."""
    found = visits({"one": ["a #1 before"], "two": ["b #1 before", "a #2 before", "a #1 before"]}, every=False)
    assert [(one.number, one.scenario, one.point) for one in found] == [
        *((0, "one", "a #1 before"), (1, "two", "a #1 before"), (2, "two", "b #1 before")),
        (3, "two", "a #2 before"),
    ]


def test_the_table_tells_what_failed() -> None:
    """By scenario and altogether, and each failure by its number and name."""
    made = [Visit(0, "one", "a #1 before"), Visit(1, "one", "b #1 before"), Visit(2, "two", "c #1 before")]
    tally, other = Tally(missed=[made[2]], next=7), Tally(failed=[made[1]], next=5)
    tally.kills.update(one=1)
    tally.right.update(one=1)
    other.kills.update(one=1)
    tally.add(other)
    assert tally.next == 5
    lines = table(tally, {"one": ["x"] * 9, "two": ["y"] * 3}, made).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["one", "9", "2", "2", "1", "1", "0"],
        ["two", "3", "1", "0", "0", "0", "1"],
        ["all", "12", "3", "2", "1", "1", "1"],
    ]
    assert lines[4:] == ["not met 2: two, c #1 before", "failed 1: one, b #1 before"]
