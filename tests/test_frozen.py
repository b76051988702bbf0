"""Frozen classes behave as `dataclass(frozen=True)` makes them."""

from __future__ import annotations

import copy
import inspect
from dataclasses import KW_ONLY, FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from backfill.frozen import frozen


@frozen
class Ours:
    """One of ours."""

    name: str
    count: int = 0
    tags: list[str] = field(default_factory=list, compare=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class Theirs:
    """The same by the standard library."""

    name: str
    count: int = 0
    tags: list[str] = field(default_factory=list, compare=False)
    secret: str = field(default="", repr=False)


BOTH = pytest.mark.parametrize("kind", [Ours, Theirs])


@BOTH
def test_by_value(kind: Any) -> None:
    """Equal values are equal, hashed alike and seen as one in a set; a field may be left out of that."""
    one = kind("a", tags=["x"])
    assert one == kind("a")
    assert one != kind("b")
    assert one != ("a", 0)
    assert len({one, kind("a"), kind("a", 1)}) == 2
    assert kind("a") != (Theirs if kind is Ours else Ours)("a")


@BOTH
def test_never_altered(kind: Any) -> None:
    """No field is set a second time or deleted, and none is added, whether it has a default or not."""
    one = kind("a")
    for name in ("name", "count", "other"):
        with pytest.raises(FrozenInstanceError, match=name):
            setattr(one, name, 1)
        with pytest.raises(FrozenInstanceError, match=name):
            delattr(one, name)
    assert one == kind("a")


@BOTH
def test_as_dataclasses(kind: Any) -> None:
    """What the standard library does with dataclasses it does with ours."""
    one = kind("a", tags=["x"], secret="s")
    assert [each.name for each in fields(kind)] == ["name", "count", "tags", "secret"]
    assert asdict(one) == {"name": "a", "count": 0, "tags": ["x"], "secret": "s"}
    assert replace(one, count=2) == kind("a", 2, secret="s")
    assert copy.deepcopy(one) == copy.copy(one) == one
    assert repr(one) == f"{kind.__name__}(name='a', count=0, tags=['x'])"
    assert kind("a").tags is not kind("a").tags


@BOTH
def test_made_as_it_says(kind: Any) -> None:
    """What does not fit the fields is refused by name; whoever asks is told what fits."""
    wrong: list[tuple[tuple[object, ...], dict[str, object], str]] = [
        ((), {}, "name"),
        (("a",), {"name": "b"}, "name"),
        (("a",), {"other": 1}, "other"),
        (("a", 1, [], "s", 2), {}, "argument"),
    ]
    for values, named, word in wrong:
        with pytest.raises(TypeError, match=word):
            kind(*values, **named)
    assert list(inspect.signature(kind).parameters) == ["name", "count", "tags", "secret"]


@frozen
class _Longer(Ours):
    _: KW_ONLY
    more: int
    doubled: int = field(init=False)

    def __post_init__(self) -> None:
        self.doubled = self.more * 2  # type: ignore[misc]


def test_inherited_by_name_and_worked_out() -> None:
    """Fields are inherited, may be given by name only, and may be worked out of others."""
    one = _Longer("a", more=2)
    assert (one.name, one.doubled, replace(one, more=3).doubled) == ("a", 4, 6)
    assert str(inspect.signature(_Longer)).endswith("*, more: 'int')")
    with pytest.raises(TypeError, match="doubled"):
        _Longer("a", more=2, doubled=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        _Longer("a", 0, [], "", 2)  # type: ignore[call-arg,misc]
