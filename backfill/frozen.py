"""Frozen dataclasses that cost a start little.

`dataclass(frozen=True)` has Python compile six methods of each class, which takes half a millisecond, and a start loads
more than a hundred such classes: a tenth of what `check` of a small file costs. Here one is compiled, and five are
shared by all classes.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Class) -> Class:
    """The class as a dataclass that `dataclass(frozen=True)` would make: equal and hashed by value, never altered."""
    dataclass(repr=False, eq=False)(cls)
    for method in (__eq__, __hash__, __repr__, __setattr__, __delattr__):
        setattr(cls, method.__name__, method)
    return cls


def _values(self: Any) -> tuple[object, ...]:  # noqa: ANN401 (a frozen class's instance, as below)
    return tuple(getattr(self, each.name) for each in fields(self) if each.compare)


def __eq__(self: Any, other: object) -> bool:  # noqa: ANN401, N807
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def __hash__(self: Any) -> int:  # noqa: ANN401, N807
    return hash(_values(self))


def __repr__(self: Any) -> str:  # noqa: ANN401, N807
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: ANN401, N807
    """Set a field once: `__init__` does."""
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def __delattr__(_: Any, name: str) -> None:  # noqa: ANN401, N807
    raise FrozenInstanceError(f"cannot delete field {name!r}")
