"""Frozen dataclasses that cost a start little.

`dataclass(frozen=True)` has Python compile seven methods of each class, which takes more than half a millisecond, and a
start loads more than a hundred such classes: a tenth of what `check` of a small file costs. Here nothing is compiled:
all classes share their methods.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from inspect import Signature

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Class) -> Class:
    """The class as a dataclass that `dataclass(frozen=True)` would make: equal and hashed by value, never altered."""
    dataclass(init=False, repr=False, eq=False)(cls)
    known = fields(cls)
    given = {each.name for each in known if each.init}
    in_order = tuple(each.name for each in known if each.init and not each.kw_only)
    defaults = {each.name: each.default for each in known if each.default is not MISSING}
    factories = {each.name: each.default_factory for each in known if each.default_factory is not MISSING}
    members = {"_frozen_fields": (given, in_order, defaults, factories), "__signature__": _Signature()}
    methods = (__init__, __eq__, __hash__, __repr__, __setattr__, __delattr__)
    for name, member in (members | {method.__name__: method for method in methods}).items():
        setattr(cls, name, member)
    return cls


class _Signature:
    """The signature of a class's `__init__`, worked out for whoever asks (PEP 362)."""

    def __get__(self, instance: object, cls: type) -> Signature:
        from inspect import Parameter, Signature  # noqa: PLC0415 (documentation asks, no run does)

        def parameter(each: Any) -> Parameter:  # noqa: ANN401 (a field)
            kind = Parameter.KEYWORD_ONLY if each.kw_only else Parameter.POSITIONAL_OR_KEYWORD
            made = ... if each.default is MISSING else each.default
            required = each.default is MISSING and each.default_factory is MISSING
            return Parameter(each.name, kind, default=Parameter.empty if required else made, annotation=each.type)

        return Signature([parameter(each) for each in fields(cls) if each.init])


def __init__(self: Any, *values: object, **named: object) -> None:  # noqa: ANN401, N807 (a frozen class's instance)
    given, in_order, defaults, factories = self._frozen_fields
    stated = dict(zip(in_order, values, strict=False))
    if len(values) > len(in_order) or not stated.keys().isdisjoint(named):
        self.__signature__.bind(*values, **named)  # raises TypeError with what is wrong
    stated |= named
    state = {**defaults, **stated}
    for name, make in factories.items():
        if name not in stated:
            state[name] = make()
    if not given <= state.keys() or not stated.keys() <= given:
        self.__signature__.bind(*values, **named)  # raises TypeError with what is wrong
    self.__dict__.update(state)
    if hasattr(self, "__post_init__"):
        self.__post_init__()


def _values(self: Any) -> tuple[object, ...]:  # noqa: ANN401 (as above)
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
