"""The job file as frozen models: what `load_job` returns, with short forms written out and defaults applied.

Names of fields are those of the job file (and so of Segment's spec), which is why some are camelCase. Parts without
short forms are FileForms: people write them as they are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, field, replace
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from backfill.document import FileForm
from backfill.frozen import frozen
from backfill.job.gates import Gates
from backfill.tracking import TrackingPlan

CallType = Literal["identify", "track", "page", "screen", "group", "alias"]
ColumnType = Literal["text", "integer", "number", "decimal", "boolean", "date", "timestamp", "json"]
Ambiguous = Literal["earliest", "latest", "error"]
Nonexistent = Literal["error", "shift_forward"]
DecimalSign = Literal[",", "."]
Union = Literal["by_name"]
#: Texts, which a file has as a list.
Texts = Annotated[tuple[str, ...], Field(strict=False)]


class Model:
    """A part that is made of a file's form, which was judged: no validator of it has to be built."""

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """The same with those values, as FileForms have it."""
        return replace(self, **update)  # type: ignore[type-var]


class Lookup(FileForm):
    """A table of values: what stands for what."""

    values: dict[str, Any] | None = Field(None, description="The table itself: text as it comes to what it becomes.")
    file: str | None = Field(None, description="A CSV file of two columns and a header, relative to the job file.")
    unknown: Literal["reject", "keep", "null"] | None = Field(
        description="What has no entry: is a bad value, stays as it is, or is null."
    )


class Slot(FileForm):
    """What a column's or an expression's value may say about itself."""

    model_config = ConfigDict(populate_by_name=True)

    nulls: Literal["omit", "keep"] = Field("omit", description="Leave a null member out, or send null.")
    as_: Literal["text", "number"] | None = Field(
        None, alias="as", description="Send the value as text or as a number."
    )
    on_bad: Literal["reject", "omit"] = Field("reject", description="A bad value rejects the call, or only itself.")
    trim: bool = Field(False, description="Leave out blanks around the text.")
    lower: bool = Field(False, description="In lower case.")
    normalize: Literal["email", "phone"] | None = Field(
        None, description="An address in lower case without blanks around it; a number's digits, with a plus in front."
    )
    lookup: Lookup | None = Field(None, description="The value that a table has for it.")
    hash: Literal["sha256"] | None = Field(None, description="SHA-256 of the text, in hex digits.")


class ColumnValue(Slot):
    """The value of a column."""

    column: str = Field(description="The column's name, exactly as the source has it.")


class SqlValue(Slot):
    """The value of a DuckDB SQL expression over the row's typed columns."""

    sql: str = Field(description="A DuckDB SQL expression; no aggregates, no clock, nothing random.")


class ShapedValue(SqlValue):
    """A value with a shape, written out as SQL (see job.shapes); no form of the file."""

    column: str = ""  # whose value it is; "" where it is that of an expression
    of: str  # the SQL of the value that the shape is made of
    hashed: bool = False
    shape: str = ""  # the shape in words, for people


class ConstantValue(FileForm):
    """The same JSON value for every row."""

    value: Any = Field(description="Any JSON value.")


@frozen
class ListValue(Model):
    """A JSON array of values; null elements stay."""

    list: tuple[Value, ...]


@frozen
class ObjectValue(Model):
    """A JSON object; keys are written out paths as in ObjectSpec."""

    object: ObjectSpec


class Star(FileForm):
    """`"*"`: every column not named elsewhere in this object, nor used as id, time or name."""

    exclude: Texts = Field((), description="Columns to leave out all the same.")


@frozen
class ObjectSpec(Model):
    r"""properties, traits, context, or a nested object.

    `members` in the order of the file: path (dotted keys split, `\.` undone) -> value. `column` is the whole object
    from a column, `members` then override it.
    """

    column: ColumnValue | None = None
    members: tuple[tuple[tuple[str, ...], Value], ...] = ()
    star: Star | None = None


Value = ColumnValue | SqlValue | ConstantValue | ListValue | ObjectValue


def _as_lines(value: Any) -> Any:  # noqa: ANN401 (what is no list of texts is told as ever)
    listed = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
    return "\n".join(value) if listed else value


#: A format; several, to be tried in order, are one text of a line each.
TimeFormat = Annotated[
    str,
    BeforeValidator(_as_lines),
    WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


class TimestampSpec(FileForm):
    """A timestamp and how to read it; exactly one of `column`, `sql` and `value`.

    `format` is None where the column is typed already; `timezone`, `ambiguous` and `nonexistent` are where the column's
    or the source's hold.
    """

    column: str | None = Field(None, description="The column's name.")
    sql: str | None = Field(None, description="A DuckDB SQL expression.")
    value: str | None = Field(None, description="One ISO 8601 timestamp for every row.")
    format: TimeFormat | None = Field(
        None,
        description="iso8601, epoch_s, epoch_ms, epoch_us, epoch_ns, excel, a strptime pattern such as "
        "%Y-%m-%d %H:%M:%S%.f, or a list of patterns of which the first that fits is taken.",
    )
    timezone: str | None = Field(None, description="The zone of wall-clock time, such as America/New_York.")
    ambiguous: Ambiguous | None = Field(None, description="Which of two instants in the hour repeated in autumn.")
    nonexistent: Nonexistent | None = Field(None, description="What to do in the hour skipped in spring.")


class ColumnSpec(FileForm):
    """A declared column of the source."""

    type: ColumnType = Field(description="What the text is to be read as.")
    format: TimeFormat | None = Field(
        None,
        description="Of a timestamp: iso8601 (default), epoch_s, epoch_ms, epoch_us, epoch_ns, excel, a strptime "
        "pattern or a list of patterns.",
    )
    timezone: str | None = Field(None, description="The zone of wall-clock time in this column.")
    ambiguous: Ambiguous = Field("error", description="Which of two instants in the hour repeated in autumn.")
    nonexistent: Nonexistent = Field("error", description="What to do in the hour skipped in spring.")
    decimal: DecimalSign | None = Field(
        None, description="Of a number: the sign before its fraction; thousands may then be in groups: 1.234,56."
    )


class CsvSpec(FileForm):
    """How a CSV or TSV file is written."""

    delimiter: str | None = Field(None, description="One character; a comma for csv, a tab for tsv.")
    quote: str = Field('"', description="One character; empty where nothing is quoted.")
    escape: str | None = Field(None, description="One character; the quote, doubled, where left out.")
    c_escapes: bool = Field(
        False, description=r"With `escape`: \n, \t, \r, \b, \f, \v, \0, \Z and \' are what databases mean."
    )
    encoding: str = Field("utf-8", description="utf-8, utf-16, latin-1, cp1252 ...")
    null_values: Texts = Field(("",), description="Texts that mean null where they stand without quotes.")
    header: bool = Field(True, description="False: `columns` names the columns in order.")
    skip_lines: int = Field(0, ge=0, description="How many lines before the header are left out.")
    line_end: Literal["any", "lf"] = Field("any", description="lf: only LF ends a line, a CR is text.")
    comment: str | None = Field(None, description="One character; lines that begin with it are left out.")


class ExcelSpec(FileForm):
    """Where a workbook's table is."""

    sheet: str | Annotated[int, Field(ge=1)] | None = Field(
        None, description="The sheet's name, or its place from 1; the only one that shows, where left out."
    )
    header_row: int | None = Field(
        None, ge=1, description="The row of the columns' names, as the sheet numbers it; the first that is not empty."
    )
    merged: Literal["fill"] | None = Field(
        None, description="fill: each of the cells that are merged has their value; rows with such cells are problems."
    )


class DriverSpec(FileForm):
    """A database by the name of an ADBC driver that is installed. Values may be `${VARIABLES}`."""

    driver: str = Field(description="The driver's name: of a Python package, such as adbc_driver_snowflake.")
    uri: str | None = Field(None, description="The database's URI, as the driver has it.")
    options: dict[str, Any] = Field({}, description="The driver's own options; secrets as ${VARIABLE}.")


@frozen
class Source(Model):
    """Where the rows come from. Exactly one of `path` and `database`."""

    path: tuple[str, ...] = ()  # as written; globs, folders, URLs, "-"
    format: str | None = None  # of job.formats; None: by the suffix
    members: tuple[str, ...] = ()  # patterns for the members of archives
    csv: CsvSpec = field(default_factory=CsvSpec.model_construct)
    records: tuple[str, ...] = ()  # keys to the records in JSON documents; none: they are the documents or elements
    excel: ExcelSpec = field(default_factory=ExcelSpec.model_construct)
    version: int | str | None = None  # of a table that keeps its versions
    fixed_width: dict[str, int] = field(
        default_factory=dict
    )  # columns in the order of a line, each with its characters
    timezone: str | None = None
    columns: dict[str, ColumnSpec] = field(default_factory=dict)
    query: str | None = None  # DuckDB SQL over `source` and `files`; the database's own SQL where `database` is given
    files: dict[str, str] = field(default_factory=dict)
    union: Union | None = None  # None: files whose columns differ are an error
    database: str | DriverSpec | None = None
    table: str | None = None  # in place of `query`: all of it; of a file of several tables, which one
    partition_on: str | None = None
    partitions: int = 1
    all_text: bool = False  # no field of job files: an export of rejects, whose strings are columns' text, also of JSON


class Latest(FileForm):
    """Which rows are the newest of their kind; only they are kept."""

    by: Texts = Field(description="The columns that make rows ones of a kind, such as [customer_id].")
    on: str = Field(description="The column that tells which is the newest: a time, a date or a number.")


@frozen
class Placeholders(Model):
    """What a job takes for a placeholder beside, and instead of, the table's: texts in lower case."""

    add: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


@frozen
class Call(Model):
    """One call, with `defaults` applied. Fields that the type does not have are None."""

    _: KW_ONLY
    type: CallType
    label: str | None = None
    when: str | None = None
    message_key: Literal["content", "row"] | tuple[Value, ...] | None = None
    message_id: ColumnValue | SqlValue | None = None
    timestamp: TimestampSpec
    userId: Value | None = None
    anonymousId: Value | None = None
    groupId: Value | None = None
    previousId: Value | None = None
    event: Value | None = None
    name: Value | None = None
    category: Value | None = None
    properties: ObjectSpec | None = None
    traits: ObjectSpec | None = None
    context: ObjectSpec | None = None
    #: Literal; an ObjectValue where a destination's options need the row, and for OWN_BLOCK.
    integrations: dict[str, Any] | None = None

    @property
    def scope(self) -> str:
        """The part of the message id's namespace that tells calls of one job apart: the label, else the type."""
        return self.label or self.type


@frozen
class Job(Model):
    """A whole job file."""

    _: KW_ONLY
    version: Literal[1]
    name: str
    generation: int = 1
    source: Source
    where: str | None = None
    explode: str | None = None  # the column whose lists become rows
    latest: Latest | None = None
    calls: tuple[Call, ...]
    rules: dict[str, Literal["error", "warn", "ignore"]] = field(default_factory=dict)
    placeholders: Placeholders = field(default_factory=Placeholders)
    ordered: bool = False
    phase: int = 2  # jobs of a lower one come first
    gates: Gates = Gates()
    mask: tuple[str, ...] | Literal["all"] = ()  # columns whose values no sample shows
    tracking_plan: str | None = None  # its file or folder, as written
    tracking: TrackingPlan | None = None  # what was read from there
    path: str = ""  # of the job file, absolute; "" where it was not read from a file
    raw: dict[str, Any] = field(default_factory=dict)  # the YAML data as written: the fingerprint's subject

    @property
    def position(self) -> str:
        """The column that says which element of its list a row is."""
        return f"{self.explode}_position"

    @property
    def needs_all(self) -> str:
        """What the first rows cannot be had for without reading all; "" where they can."""
        if self.source.query is not None and self.source.database is None:
            return "query"  # over files: it may order, join and sum
        return "latest" if self.latest is not None else ""

    def time_columns(self) -> dict[tuple[str, str], str]:
        """Every distinct (column, format) that a call's `timestamp` reads from text -> its snapshot column.

        The column exists in the snapshot only where the source column is text and the format no epoch.
        """
        pairs = [
            (call.timestamp.column, call.timestamp.format)
            for call in self.calls
            if call.timestamp.column and call.timestamp.format and not call.timestamp.format.startswith("epoch_")
        ]
        return {pair: f"__bf_time_{index}" for index, pair in enumerate(dict.fromkeys(pairs))}
