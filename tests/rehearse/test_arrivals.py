"""What arrived compared with a plan: each kind of wrong is found, and nothing else is called wrong."""

from hypothesis import given
from hypothesis import strategies as st

from backfill.rehearse.arrivals import Arrivals, arrivals, compare, digest_of

FATES = ("once", "again", "missing", "altered", "unexplained", "unknown")


@given(st.lists(st.sampled_from(FATES), max_size=40))
def test_each_call_is_told_as_what_became_of_it(fates: list[str]) -> None:
    """Calls of any mixture of fates are counted and named as these, and are proven only where none is bad."""
    named = [(f"{fate}-{place}", fate) for place, fate in enumerate(fates)]
    planned = {one: digest_of(one.encode()) for one, fate in named if fate != "unknown"}
    there = [(one, b"other" if fate == "altered" else one.encode()) for one, fate in named if fate != "missing"]
    more = [one for one, fate in named if fate in ("again", "unexplained") for _ in range(2)]
    doubted = {one: 2 if fate == "again" else 1 for one, fate in named}
    found = compare(planned, arrivals(there, more), doubted)
    by_fate = {fate: sorted(one for one, of in named if of == fate) for fate in FATES}
    assert found.planned == len(fates) - len(by_fate["unknown"])
    assert found.once == len(by_fate["once"])
    assert found.again == len(by_fate["again"]) + len(by_fate["unexplained"])
    assert found.arrivals_again == 2 * found.again
    assert [list(found.missing), list(found.altered), list(found.unknown), list(found.unexplained)] == [
        by_fate[fate] for fate in ("missing", "altered", "unknown", "unexplained")
    ]
    assert found.proven is not bool(set(fates) - {"once", "again"})
    assert found.planned == found.once + found.again + len(found.missing) + len(found.altered)


def test_a_call_that_nobody_doubted_comes_once() -> None:
    """One arrival too many is enough, also of a call that nothing is known of."""
    one = {"a": digest_of(b"a")}
    for doubted, proven in (({}, False), ({"a": 0}, False), ({"a": 1}, True)):
        assert compare(one, Arrivals(one, {"a": 1}), doubted).proven is proven
    assert not compare(one, Arrivals(one, {"b": 1}), {"b": 1}).proven
