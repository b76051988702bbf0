"""The shape of a file by its pydantic models, with every fault in plain words.

A part with a fault is left out and the rest read again, so that checks of meaning still run over what is sound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from backfill.document.faults import Faults, nearest, suggest
from backfill.document.positions import field_path

Location = tuple[str | int, ...]
#: Parts left out at most before giving up; each reading leaves out all it found, so files need two or three.
_ROUNDS = 20


class FileForm(BaseModel):
    """A part of a file as people write it: closed to unknown fields, no value changed into another type."""

    # Only the form of a whole file validates; those of its parts need no validators of their own.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:  # noqa: ANN401
        """Note which form reads this mapping, so that a fault in it can say which fields there are."""
        if info.context is not None and isinstance(data, dict):
            info.context[id(data)] = cls
        return handler(data)

    @classmethod
    def field_names(cls) -> list[str]:
        """The fields' names as people write them."""
        return [field.alias or key for key, field in cls.model_fields.items()]

    @classmethod
    def choices(cls, name: str) -> list[str]:
        """The words that a field can be; none where it is no choice of words."""
        kinds = [field.annotation for key, field in cls.model_fields.items() if name in (key, field.alias)]
        literals = [each for kind in kinds for each in (kind, *get_args(kind)) if get_origin(each) is Literal]
        return [str(word) for each in literals for word in get_args(each)]

    @classmethod
    def hint_for_field(cls, name: str) -> str:
        """What to say of a field that does not exist here: a near one, else the list of what there is."""
        return suggest(name, cls.field_names()) or f"there are: {', '.join(cls.field_names())}"


class _Said(dict[str, int | str | float]):
    """What is said of a value; hashable, as all that stands in an annotation has to be."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))


def told_apart(
    shape: Callable[[Any], str | None], message: str, hint: str = "", *, of_mapping: str = "", switch: bool = False
) -> Discriminator:
    """A union whose members are told apart by `shape`, with what is said of a value that is none of them.

    The message may name what was found as {found}; the hint, or that for a mapping, the field as {name} and the
    mapping's first key as {inner}. `switch`: words that older YAML takes for true or false are explained.
    """
    said = _Said({"message": message, "hint": hint, "of_mapping": of_mapping, "switch": switch})
    return Discriminator(
        shape, custom_error_type="no_member_of_union", custom_error_message=message, custom_error_context=said
    )


AnyForm = TypeVar("AnyForm", bound=FileForm)


def validate(
    form: type[AnyForm], faults: Faults, stand_ins: dict[str, Any], meant: Mapping[str, str] | None = None
) -> AnyForm | None:
    """The file's data as that form, faults of shape added to `faults`; None where nothing sound is left.

    `stand_ins` are values, by path with `[]` for any place of a list, that take the place of required parts which
    are missing or faulty; whoever goes on with the form asks `faults.is_broken` before believing them. `meant` says of
    words that other tools use which of ours they mean.
    """
    data = copied(faults.positions.data)
    for turn in range(_ROUNDS):
        forms: dict[int, type[FileForm]] = {}
        try:
            return form.model_validate(data, context=forms, by_alias=True, by_name=False)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        located = [(real_location(data, item["loc"], missing=item["type"] == "missing"), item) for item in errors]
        if turn == 0:
            # Unknown fields first: one that is a known field misspelt stands for that, which then is not missing.
            for location, item in sorted(located, key=lambda pair: pair[1]["type"] != "extra_forbidden"):
                if faults.full:
                    return None
                report(faults, location, item, forms.get(id(at(data, location[:-1]))), at(data, location[:-1]), meant)
        # The deepest first, so that a part is still there when its inner parts are taken out of it.
        for location, _ in sorted(located, key=lambda pair: len(pair[0]), reverse=True):
            leave_out(data, location, stand_ins, faults)
    return None


def report(
    faults: Faults,
    location: Location,
    item: Any,  # noqa: ANN401
    form: type[FileForm] | None,
    around: Any,  # noqa: ANN401
    meant: Mapping[str, str] | None,
) -> None:
    """Add one of pydantic's errors to the faults, in our words; `around` is the mapping it is in."""
    message, hint = in_words(item, str(location[-1]) if location else "", form, meant or {})
    faults.add(field_path(location), message, hint, key=item["type"] in ("extra_forbidden", "missing"))
    if item["type"] == "extra_forbidden" and form is not None:
        near = nearest(str(location[-1]), form.field_names())
        if near and near not in around:
            faults.broken.add(field_path((*location[:-1], near)))


def in_words(item: Any, name: str, form: type[FileForm] | None, meant: Mapping[str, str]) -> tuple[str, str]:  # noqa: ANN401
    """Message and hint for one error, of pydantic's own kinds or as `told_apart` says."""
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "extra_forbidden":
        return f"there is no field {name!r} here".replace("'", '"'), form.hint_for_field(name) if form else ""
    if kind == "missing":
        choices = form.choices(name) if form else []
        return "is missing", f"it can be {' or '.join(choices)}" if choices else ""
    if kind == "literal_error":
        return _of_several(value, context["expected"], meant)
    wanted = _WANTED.get(kind)
    if wanted:
        quote = isinstance(value, bool | int | float) and wanted == "text"
        hint = f'quote it: "{value}"' if quote else _switch(value) if kind == "bool_type" else ""
        return f"is {described(value)}; {wanted} is wanted", hint
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = "at least" if kind.startswith("g") else "at most"
        return f"is {value}; {bound} {context.get('ge', context.get('le'))} is wanted", ""
    mapping = isinstance(value, dict) and bool(value)
    hint = (mapping and context.get("of_mapping")) or context.get("hint", "")
    hint = (_switch(value) if context.get("switch") else "") or hint
    inner = str(next(iter(value))) if mapping else ""
    message = context.get("message", item["msg"])
    return message.replace("{found}", described(value)), hint.replace("{name}", name).replace("{inner}", inner)


def _of_several(value: Any, expected: str, meant: Mapping[str, str]) -> tuple[str, str]:  # noqa: ANN401
    """Message and hint for a value that is none of those that can be; pydantic quotes those that are texts."""
    options = re.findall(r"'([^']*)'", expected) or [expected]
    if value in options:
        return f"is the text {described(value)}; the number {value} is wanted", "write it without quotes"
    near = suggest(meant.get(value.casefold(), value), options) if isinstance(value, str) else ""
    return f"is {described(value)}; it can be {' or '.join(options)}", near


def _switch(value: Any) -> str:  # noqa: ANN401
    """What to write for a word that older YAML takes for true or false; nothing for anything else."""
    said = _SWITCHES.get(value.casefold()) if isinstance(value, str) else None
    return f"write {said}: in YAML 1.2 `{value}` is text" if said else ""


_SWITCHES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


_WANTED = {
    "string_type": "text",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def described(value: Any) -> str:  # noqa: ANN401
    """A value as a message names it, shortened."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value[:60]}"' if value else "an empty text"
    if isinstance(value, int | float):
        return f"the number {value}"[:60]
    return "a list" if isinstance(value, list) else "a mapping"


def copied(data: Any) -> Any:  # noqa: ANN401
    """A deep copy in which no two places share a part (aliases do), so that leaving one out spares the other."""
    if isinstance(data, dict):
        return {key: copied(value) for key, value in data.items()}
    return [copied(value) for value in data] if isinstance(data, list) else data


def real_location(data: Any, location: Sequence[str | int], *, missing: bool) -> Location:  # noqa: ANN401
    """The location without the names of union members that pydantic puts into it."""
    found: list[str | int] = []
    for place, step in enumerate(location):
        last = place == len(location) - 1
        inside = (isinstance(data, dict) and step in data) or (
            isinstance(data, list) and isinstance(step, int) and step < len(data)
        )
        if inside:
            data = data[step]
            found.append(step)
        elif last and missing:
            found.append(step)
    return tuple(found)


def at(data: Any, location: Location) -> Any:  # noqa: ANN401
    """What stands at that location, None where nothing does."""
    for step in location:
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data


def leave_out(data: Any, location: Location, stand_ins: dict[str, Any], faults: Faults) -> None:  # noqa: ANN401
    """Take the part out of the data, or put its stand-in there; where it is missing or an item, what is around it."""
    if not location:
        return
    path = field_path(location)
    name = re.sub(r"\[\d+\]", "[]", path)
    parent, step = at(data, location[:-1]), location[-1]
    if name in stand_ins:
        parent[step] = copied(stand_ins[name])
    elif isinstance(parent, dict) and step in parent:
        del parent[step]
    elif parent is None:
        return  # gone already, with what was around it
    else:
        leave_out(data, location[:-1], stand_ins, faults)
        return
    faults.broken.add(path)
