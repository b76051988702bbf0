"""JSON Schemas (draft-07) compiled by a library: whether they are sound, and what of a value breaks them.

Nothing is fetched: a schema that refers outside of itself is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from backfill.document import suggest
from backfill.extras import required
from backfill.frozen import frozen

if TYPE_CHECKING:
    from jsonschema_rs import Draft7Validator

EXTRA: Final = "protocols"
#: Segment's plans state draft-07, older ones 04 and 06, which are read as it.
_DRAFTS: Final = ("draft-04", "draft-06", "draft-07")
#: Keywords of draft-07 (https://json-schema.org/draft-07/schema), which look-alikes may be meant for.
KEYWORDS: Final = frozenset({
    "$id", "$schema", "$ref", "$comment", "title", "description", "default", "readOnly", "writeOnly", "examples",
    "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength", "pattern",
    "additionalItems", "items", "maxItems", "minItems", "uniqueItems", "contains", "maxProperties", "minProperties",
    "required", "additionalProperties", "definitions", "properties", "patternProperties", "dependencies",
    "propertyNames", "const", "enum", "type", "format", "contentMediaType", "contentEncoding", "if", "then", "else",
    "allOf", "anyOf", "oneOf", "not",
})  # fmt: skip
#: Keywords whose values are schemas by name: what stands in them are names, not keywords.
_BY_NAME: Final = frozenset({"properties", "patternProperties", "definitions", "dependencies"})
_TYPES: Final = ("string", "number", "integer", "boolean", "object", "array", "null")
#: What Segment and its tools write beside the keywords.
_KNOWN_OTHERS: Final = frozenset({"id", "key", "labels", "eventMetadata"})
#: Words that say nothing of values.
DESCRIBING: Final = _KNOWN_OTHERS | {
    *("$schema", "$comment", "title", "description", "default", "examples", "readOnly", "writeOnly"),
}


#: What the target or each attempt adds to a call: it is not there yet, and so not missing.
ADDED_LATER: Final = frozenset({"sentAt", "receivedAt", "originalTimestamp"})


@frozen
class Violation:
    """One way in which a value breaks a schema: where in the value, by which keyword, what that wants."""

    path: tuple[str | int, ...]
    keyword: str
    wanted: Any
    value: Any

    @property
    def is_added_later(self) -> bool:
        """Whether, in a whole call, all that is missing is what is added to it later."""
        return self.keyword == "required" and len(self.path) == 1 and self.path[0] in ADDED_LATER


def compile_schema(schema: Mapping[str, Any]) -> Draft7Validator:
    """The schema compiled; formats are judged, references outside of it refused.

    Raises:
        ValueError: It is no sound schema of draft-07; `instance_path` of the error says where in it.
        UsageError: The library is not installed; names the extra that brings it.
    """
    library = required("jsonschema_rs", EXTRA, "tracking plans")
    plain = {name: value for name, value in schema.items() if name not in ("$schema", "$id")}
    validator: Draft7Validator = library.Draft7Validator(plain, validate_formats=True, retriever=_refuse)
    return validator


def fault_of(schema: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """What is wrong with a schema: the JSON pointer within it, the message and a hint; None where it is sound.

    Raises:
        UsageError: The library is not installed.
    """
    stated = schema.get("$schema", "")
    if isinstance(stated, str) and "json-schema.org" in stated and not any(draft in stated for draft in _DRAFTS):
        return "/$schema", f"{stated} is not what Segment takes", "write it in draft-07"
    try:
        compile_schema(schema)
    except ValueError as error:
        steps = list(getattr(error, "instance_path", ()))
        pointer, message = "".join(f"/{step}" for step in steps), getattr(error, "message", str(error))
        found = _at(schema, steps)
        if steps and "type" in steps[-2:] and isinstance(found, str):
            return pointer, f'"{found}" is no type', suggest(found, _TYPES) or f"it is one of {', '.join(_TYPES)}"
        return pointer, message.partition("\n")[0], ""
    return None


def violations(validator: Draft7Validator, schema: Mapping[str, Any], value: object) -> Iterator[Violation]:
    """Each violation, of `additionalProperties` one for each property; the validator is made of the schema."""
    for error in validator.iter_errors(value):
        path, keyword = tuple(error.instance_path), error.kind.name
        wanted = _at(schema, error.schema_path)
        match keyword:
            case "additionalProperties":
                inner = error.instance if isinstance(error.instance, dict) else {}
                for name in error.kind.as_dict()["unexpected"]:
                    yield Violation((*path, name), keyword, False, inner.get(name))
            case "falseSchema" if isinstance(whole := _at(value, list(path)), dict) and whole != error.instance:
                # Of an object that allows no property at all the library tells one, beside the object's own path.
                for name in whole:
                    yield Violation((*path, name), "additionalProperties", False, whole[name])
            case "required":
                yield Violation((*path, error.kind.as_dict()["property"]), keyword, wanted, None)
            case _:
                yield Violation(path, keyword, wanted, error.instance)


def _at(schema: Any, steps: list[str | int]) -> Any:  # noqa: ANN401 (any part of a schema)
    """The part of the schema there; None where a reference led elsewhere."""
    for step in steps:
        try:
            schema = schema[step]
        except (KeyError, IndexError, TypeError):
            return None
    return schema


def odd_keywords(schema: Any, pointer: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Words in a schema that are no keyword and look like one: JSON pointer, and what may be meant.

    A validator passes over them, so that nothing would be judged.
    """
    if isinstance(schema, list):
        for place, item in enumerate(schema):
            yield from odd_keywords(item, f"{pointer}/{place}")
    if not isinstance(schema, Mapping):
        return
    for name, inner in schema.items():
        at = f"{pointer}/{name}"
        if name not in KEYWORDS | _KNOWN_OTHERS and (meant := get_close_matches(name, KEYWORDS, n=1, cutoff=0.8)):
            yield at, meant[0]
        elif name in _BY_NAME and isinstance(inner, Mapping):
            for key, each in inner.items():
                yield from odd_keywords(each, f"{at}/{key}")
        elif name not in ("enum", "const", "default", "examples", "labels", "eventMetadata"):
            yield from odd_keywords(inner, at)


def judging_part(schema: Any) -> Any:  # noqa: ANN401
    """The schema without words that describe and judge nothing, so that another description makes no other plan."""
    if isinstance(schema, list):
        return [judging_part(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for name, inner in schema.items():
        if name in _BY_NAME and isinstance(inner, Mapping):
            found[name] = {key: judging_part(each) for key, each in inner.items()}
        elif name in ("enum", "const"):
            found[name] = inner
        elif name not in DESCRIBING:
            found[name] = judging_part(inner)
    return found


def has_reference(schema: Any) -> bool:  # noqa: ANN401
    """Whether `$ref` stands anywhere in it."""
    if isinstance(schema, Mapping):
        return "$ref" in schema or any(map(has_reference, schema.values()))
    return isinstance(schema, list) and any(map(has_reference, schema))


def _refuse(uri: str) -> Any:  # noqa: ANN401
    raise ValueError(f"{uri} is outside of the schema, and nothing is fetched")
