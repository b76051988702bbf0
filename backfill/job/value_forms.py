"""Values as people write them in a job file, short forms included.

A union is told apart by what is there (a text, a mapping with `sql`, ...), never by trying one form after the other,
so that a fault names what is wrong with the form that was meant.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Tag

from backfill.document import FileForm, nearest, told_apart
from backfill.job.models import Ambiguous, Nonexistent

_VALUE_FORMS = ("column", "sql", "value", "list", "object")
_VALUE_HELP = (
    "a value is a column's name, or {column: ...}, {sql: ...}, {value: ...}, {list: [...]} or "
    "{object: {...}}; a dotted name makes a nested object too"
)
_NESTED_HELP = (
    "a nested object has dotted names, `{name}.{inner}: ...`, or is written `{name}: {object: {{inner}: ...}}`"
)


class ColumnForm(FileForm):
    """The value of a column."""

    column: str = Field(description="The column's name, exactly as the source has it.")
    nulls: Literal["omit", "keep"] = Field("omit", description="Leave a null member out, or send null.")
    as_: Literal["text", "number"] | None = Field(
        None, alias="as", description="Send the value as text or as a number."
    )
    on_bad: Literal["reject", "omit"] = Field("reject", description="A bad value rejects the call, or only itself.")


class SqlForm(FileForm):
    """The value of a DuckDB SQL expression over the row's typed columns."""

    sql: str = Field(description="A DuckDB SQL expression; no aggregates, no clock, nothing random.")
    nulls: Literal["omit", "keep"] = Field("omit", description="Leave a null member out, or send null.")
    as_: Literal["text", "number"] | None = Field(
        None, alias="as", description="Send the value as text or as a number."
    )
    on_bad: Literal["reject", "omit"] = Field("reject", description="A bad value rejects the call, or only itself.")


class ConstantForm(FileForm):
    """The same JSON value for every row."""

    value: Any = Field(description="Any JSON value.")


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
    | Annotated[ColumnForm, Tag("<column>")]
    | Annotated[SqlForm, Tag("<sql>")]
    | Annotated[ConstantForm, Tag("<value>")]
    | Annotated[ListForm, Tag("<list>")]
    | Annotated[ObjectValueForm, Tag("<object>")],
    told_apart(value_shape, "{found} is no value", _VALUE_HELP, of_mapping=_NESTED_HELP),
]


class StarForm(FileForm):
    """Every column not named elsewhere in this object, nor used as id, time or name."""

    exclude: list[str] = Field([], description="Columns to leave out all the same.")


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
            Annotated[Literal[True], Tag("<true>")] | Annotated[StarForm, Tag("<mapping>")],
            told_apart(star_shape, "is {found}; true or {exclude: [...]} is wanted", switch=True),
        ]
        | None
    ) = Field(None, alias="*", description="Every column that is not named elsewhere.")


WholeObjectForm = Annotated[
    Annotated[str, Tag("<text>"), Field(description="The whole object from a column.")]
    | Annotated[ObjectForm, Tag("<mapping>")],
    told_apart(object_shape, "is {found}; a mapping of members is wanted", "such as `revenue: total`; or {} for none"),
]


class TimestampForm(FileForm):
    """A timestamp and how to read it; exactly one of `column`, `sql` and `value`."""

    column: str | None = Field(None, description="The column's name.")
    sql: str | None = Field(None, description="A DuckDB SQL expression.")
    value: str | None = Field(None, description="One ISO 8601 timestamp for every row.")
    format: str | None = Field(
        None,
        description="iso8601, epoch_s, epoch_ms, epoch_us, epoch_ns or a strptime pattern: %Y-%m-%d %H:%M:%S.",
    )
    timezone: str | None = Field(None, description="The zone of wall-clock time, such as America/New_York.")
    ambiguous: Ambiguous | None = Field(None, description="Which of two instants in the hour repeated in autumn.")
    nonexistent: Nonexistent | None = Field(None, description="What to do in the hour skipped in spring.")


TimestampAnyForm = Annotated[
    Annotated[str, Tag("<text>"), Field(description="A column's name.")] | Annotated[TimestampForm, Tag("<mapping>")],
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
    | Annotated[ColumnForm, Tag("<column>")]
    | Annotated[SqlForm, Tag("<sql>")],
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
    | Annotated[ColumnForm, Tag("<column>")]
    | Annotated[SqlForm, Tag("<sql>")],
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
