"""Values as people write them in a job file, short forms included.

A union is told apart by what is there (a text, a mapping with `sql`, ...), never by trying one form after the other,
so that a fault names what is wrong with the form that was meant.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Tag

from backfill.document import FileForm, nearest, told_apart
from backfill.job.models import ColumnValue, ConstantValue, SqlValue, Star, TimestampSpec

_VALUE_FORMS = ("column", "sql", "value", "list", "object")
_VALUE_HELP = (
    "a value is a column's name, or {column: ...}, {sql: ...}, {value: ...}, {list: [...]} or "
    "{object: {...}}; a dotted name makes a nested object too"
)
_NESTED_HELP = (
    "a nested object has dotted names, `{name}.{inner}: ...`, or is written `{name}: {object: {{inner}: ...}}`"
)


class ListForm(FileForm):
    """A JSON array of values."""

    elements: list[ValueForm] = Field(alias="list", description="The elements in order; null elements stay.")


class ObjectValueForm(FileForm):
    """A nested JSON object."""

    members: ObjectForm = Field(alias="object", description="Its members.")


def value_shape(value: Any) -> str | None:  # noqa: ANN401
    """Which of the value forms this is meant to be."""
    if isinstance(value, str):
        return "<text>"
    if isinstance(value, dict):
        written = next((name for name in _VALUE_FORMS if name in value), "")
        meant = written or next(filter(None, (nearest(name, _VALUE_FORMS) for name in value)), "")
        return f"<{meant}>" if meant else None
    return None


ValueForm = Annotated[
    Annotated[str, Tag("<text>"), Field(description="A column's name.")]
    | Annotated[ColumnValue, Tag("<column>")]
    | Annotated[SqlValue, Tag("<sql>")]
    | Annotated[ConstantValue, Tag("<value>")]
    | Annotated[ListForm, Tag("<list>")]
    | Annotated[ObjectValueForm, Tag("<object>")],
    told_apart(value_shape, "{found} is not a value", _VALUE_HELP, of_mapping=_NESTED_HELP),
]


def star_shape(value: Any) -> str | None:  # noqa: ANN401
    """`true` or a mapping."""
    return "<true>" if value is True else "<mapping>" if isinstance(value, dict) else None


class WholeColumnForm(FileForm):
    """A column of whole objects, at length."""

    column: str = Field(description="The column's name, exactly as the source has it.")
    exclude: list[str] = Field([], description="Members to leave out; a dotted name is one inside another.")
    on_bad: Literal["reject", "omit"] = Field("reject", description="A bad value rejects the call, or only itself.")


def object_shape(value: Any) -> str | None:  # noqa: ANN401
    """A column's name or a mapping."""
    return "<text>" if isinstance(value, str) else "<mapping>" if isinstance(value, dict) else None


class ObjectForm(FileForm):
    r"""Members by name; a dotted key makes a nested object, `\.` keeps the dot. An empty one is `{}`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ValueForm]

    column: (
        Annotated[
            Annotated[str, Tag("<text>"), Field(description="A column's name.")]
            | Annotated[WholeColumnForm, Tag("<mapping>")],
            told_apart(
                object_shape,
                "is {found}; a column's name or {column: ..., exclude: [...]} is wanted",
                "a member called column is written '\\column'",
            ),
        ]
        | None
    ) = Field(None, description="The whole object from a column; the other members override it.")
    star: (
        Annotated[
            Annotated[Literal[True], Tag("<true>")] | Annotated[Star, Tag("<mapping>")],
            told_apart(star_shape, "is {found}; true or {exclude: [...]} is wanted", switch=True),
        ]
        | None
    ) = Field(None, alias="*", description="Every column that is not named elsewhere.")


WholeObjectForm = Annotated[
    Annotated[str, Tag("<text>"), Field(description="The whole object from a column.")]
    | Annotated[ObjectForm, Tag("<mapping>")],
    told_apart(object_shape, "is {found}; a mapping of members is wanted", "such as `revenue: total`; or {} for none"),
]


TimestampAnyForm = Annotated[
    Annotated[str, Tag("<text>"), Field(description="A column's name.")] | Annotated[TimestampSpec, Tag("<mapping>")],
    told_apart(object_shape, "is {found}; a column's name or {column: ..., format: ...} is wanted"),
]


def key_shape(value: Any) -> str | None:  # noqa: ANN401
    """A word or column, one value in long form, or a list of values."""
    if isinstance(value, dict):
        return next((f"<{name}>" for name in ("column", "sql") if name in value), None)
    return "<list>" if isinstance(value, list) else object_shape(value)


MessageKeyForm = Annotated[
    Annotated[str, Tag("<text>"), Field(description="A column, or the word content or row.")]
    | Annotated[list[ValueForm], Tag("<list>")]
    | Annotated[ColumnValue, Tag("<column>")]
    | Annotated[SqlValue, Tag("<sql>")],
    told_apart(key_shape, "is {found}; a column, a list of values, or the word content or row is wanted"),
]


def message_id_shape(value: Any) -> str | None:  # noqa: ANN401
    """A column in short or long form, or an expression."""
    if isinstance(value, dict):
        return (
            "<sql>"
            if "column" not in value and any(nearest(name, ("column", "sql")) == "sql" for name in value)
            else "<column>"
        )
    return "<text>" if isinstance(value, str) else None


MessageIdForm = Annotated[
    Annotated[str, Tag("<text>"), Field(description="A column's name.")]
    | Annotated[ColumnValue, Tag("<column>")]
    | Annotated[SqlValue, Tag("<sql>")],
    told_apart(
        message_id_shape,
        "is {found}; a column that holds message ids is wanted",
        "ids that are yet to be made are the business of `message_key`",
    ),
]


def integration_shape(value: Any) -> str | None:  # noqa: ANN401
    """On, off, or the destination's own options."""
    return "<bool>" if isinstance(value, bool) else "<mapping>" if isinstance(value, dict) else None


IntegrationForm = Annotated[
    Annotated[bool, Tag("<bool>")] | Annotated[dict[str, Any], Tag("<mapping>")],
    told_apart(
        integration_shape,
        "is {found}; true, false or the destination's options are wanted",
        "options are literal, and {column: ...} or {sql: ...} takes one from the row",
        switch=True,
    ),
]
