"""The job file as people write it, short forms included: its shape, and the JSON Schema of that.

Only the shape is settled here: what stands where and of which type. What it means together is for `checks`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Tag

from backfill.document import FileForm, told_apart
from backfill.job.formats import FILE_FORMATS
from backfill.job.models import CallType, ColumnSpec, ColumnType, CsvSpec, DriverSpec, ExcelSpec, Latest, Union
from backfill.job.value_forms import (
    IntegrationForm,
    MessageIdForm,
    MessageKeyForm,
    TimestampAnyForm,
    ValueForm,
    WholeObjectForm,
    object_shape,
)

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class CallFields(FileForm):
    """What `defaults` and a call have in common."""

    message_key: MessageKeyForm | None = Field(
        None, description="What makes the call one of its kind: a column, a list of values, or the word content or row."
    )
    message_id: MessageIdForm | None = Field(
        None, description="A column, or {sql: ...}, of message ids that exist already."
    )
    timestamp: TimestampAnyForm | None = Field(None, description="When it happened. Required; never now.")
    userId: ValueForm | None = Field(None, description="The user's id.")
    anonymousId: ValueForm | None = Field(None, description="The id of somebody not known yet.")
    groupId: ValueForm | None = Field(None, description="The group's id (group).")
    previousId: ValueForm | None = Field(None, description="The id that was used before (alias).")
    event: ValueForm | None = Field(
        None, description="The event's name (track): a constant is {value: Order Completed}."
    )
    name: ValueForm | None = Field(None, description="The page's or screen's name.")
    category: ValueForm | None = Field(None, description="The page's or screen's category.")
    properties: WholeObjectForm | None = Field(None, description="Properties (track, page, screen).")
    traits: WholeObjectForm | None = Field(None, description="Traits (identify, group).")
    context: WholeObjectForm | None = Field(None, description="Context.")
    integrations: dict[str, IntegrationForm] | None = Field(
        None,
        description="Where Segment may forward the call. Literal, but for {column: ...} and {sql: ...} among a "
        "destination's options. Required before a live run.",
    )


class CallForm(CallFields):
    """One call made of each row."""

    type: CallType = Field(description="Which of Segment's six calls.")
    label: str | None = Field(None, description="Tells calls of one type apart; part of the message id.")
    when: str | None = Field(None, description="DuckDB SQL; rows where it is not true are skipped.")

    @classmethod
    def hint_for_field(cls, name: str) -> str:
        """Fields that people bring from Segment's spec or SDKs, before near names."""
        return _ELSEWHERE.get(name) or super().hint_for_field(name)


_ELSEWHERE = {
    "messageId": "write message_key (what makes the call one of its kind) or message_id (a column of ids)",
    "sentAt": "backfill sets it at each attempt",
    "receivedAt": "the target sets it when it receives the call",
    "originalTimestamp": "the target sets it from `timestamp`",
    "writeKey": "a write key never stands in a job file: set SEGMENT_WRITE_KEY or name a key file in targets.yaml",
}


DeclaredForm = Annotated[
    Annotated[ColumnType, Tag("<text>")] | Annotated[ColumnSpec, Tag("<mapping>")],
    told_apart(object_shape, "is {found}; a type or {type: timestamp, format: ...} is wanted"),
]


def path_shape(value: Any) -> str | None:  # noqa: ANN401
    """One path or several."""
    return "<text>" if isinstance(value, str) else "<list>" if isinstance(value, list) else None


PathForm = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[str], Tag("<list>")],
    told_apart(path_shape, "is {found}; a path or a list of paths is wanted"),
]


DatabaseForm = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[DriverSpec, Tag("<mapping>")],
    told_apart(object_shape, "is {found}; a URL or {driver: ..., uri: ...} is wanted"),
]


MaskForm = Annotated[
    Annotated[Literal["all"], Tag("<text>")] | Annotated[list[str], Tag("<list>")],
    told_apart(path_shape, "is {found}; a list of columns, or the word all, is wanted"),
]


class SourceForm(FileForm):
    """Where the rows come from; exactly one of `path` and `database`."""

    path: PathForm | None = Field(None, description='Relative to the job file: a file, glob, folder, list, or "-".')
    format: str | None = Field(
        None, description=f"{', '.join(FILE_FORMATS[:-1])} or {FILE_FORMATS[-1]}; by the suffix where left out."
    )
    members: PathForm | None = Field(
        None, description='Which files in zip and tar archives: a pattern such as "*.csv", or a list of them.'
    )
    csv: CsvSpec | None = Field(None, description="How a CSV or TSV file is written.")
    version: int | str | None = Field(
        None,
        description="Of a Delta table its version or a time in ISO 8601, of an Iceberg table the id of a snapshot.",
    )
    fixed_width: dict[str, Annotated[int, Field(ge=1)]] = Field(
        {}, description="The columns of fixed-width text in the order of a line, each with its number of characters."
    )
    excel: ExcelSpec | None = Field(None, description="Where the table is in a workbook.")
    timezone: str | None = Field(None, description="The zone of timestamps that carry none.")
    columns: dict[str, DeclaredForm] = Field({}, description="Types of columns; what is not named stays text.")
    query: str | None = Field(
        None, description="DuckDB SQL over `source` and `files`; with `database`, the database's own SQL."
    )
    files: dict[str, str] = Field({}, description="More inputs of `query`: name to path.")
    union: Union | None = Field(
        None, description="by_name: files of different columns are united, what one lacks is null."
    )
    records: str | None = Field(
        None, description=r"The keys that lead to the records in a JSON document: data.items; `\.` is a dot of a key."
    )
    database: DatabaseForm | None = Field(
        None, description="A database's URL: postgresql://host/shop or sqlite:///shop.db; or an ADBC driver."
    )
    table: str | None = Field(
        None, description="The table of a dump, or of a database in place of `query`: orders, or shop.orders."
    )
    partition_on: str | None = Field(None, description="A column of a live database's rows that cuts them in parts.")
    partitions: int | None = Field(None, ge=1, le=64, description="How many parts, read at the same time.")


class PlaceholdersForm(FileForm):
    """Which texts in place of an id are problems (BF105), beside the program's own table."""

    add: list[str] = Field([], description="Further texts that stand for nobody; met in any case.")
    allow: list[str] = Field([], description="Texts of the table that are ids here.")


class GatesForm(FileForm):
    """What the plan has to keep to, or nothing of it is sent (exit 4)."""

    max_rejects: int | str | None = Field(
        None, description="Calls rejected and rows unreadable, at most: 100, or 0.5% of calls planned and these rows."
    )
    earliest: str | None = Field(None, description="No call to be sent is of an earlier day (UTC): 2019-01-01.")
    latest: str | None = Field(None, description="No call to be sent is of a later day (UTC).")
    min_calls: int | None = Field(None, ge=0, description="Calls to be sent, at least.")
    max_calls: int | None = Field(None, ge=0, description="Calls to be sent, at most.")
    max_bytes: int | str | None = Field(None, description="Their JSON, at most: 500000, or 2.5 GB.")
    max_events: int | None = Field(None, ge=0, description="Names of events, pages and screens, at most.")
    max_users: int | None = Field(
        None,
        ge=0,
        description="UserIds, and anonymousIds that came with no userId, at most: users as Segment bills them.",
    )


class JobForm(FileForm):
    """A backfill job: a source and the calls to make of each of its rows."""

    version: Literal[1] = Field(description="Of this format.")
    name: str = Field(description="Part of every message id: renaming a job sends everything again.")
    generation: int = Field(1, ge=1, description="Raised on purpose to send the same rows again under new ids.")
    source: SourceForm = Field(description="Where the rows come from.")
    where: str | None = Field(None, description="DuckDB SQL; rows where it is not true are left out.")
    explode: str | None = Field(
        None, description="A column of lists: each element becomes a row, its position the column NAME_position."
    )
    latest: Latest | None = Field(None, description="Of the rows that `where` keeps, only the newest of each kind.")
    defaults: CallFields | None = Field(None, description="Fields of every call whose type has them.")
    calls: list[CallForm] = Field(description="The calls made of each row.", json_schema_extra={"minItems": 1})
    rules: dict[str, Literal["error", "warn", "ignore"]] = Field(
        {}, description="Severity by rule, such as BF105: warn."
    )
    placeholders: PlaceholdersForm | None = Field(
        None, description="Texts that stand for nobody in place of an id: add some, or allow some of the table."
    )
    gates: GatesForm | None = Field(None, description="What the plan has to keep to, or nothing of it is sent.")
    mask: MaskForm | None = Field(
        None, description="Columns whose values are never shown in samples and reports; the word all: of no column."
    )
    tracking_plan: str | None = Field(
        None,
        description="Segment Protocols' tracking plan as JSON, or a folder of JSON Schemas, relative to the job file: "
        "calls that break it are problems (BF140 to BF144).",
    )
    ordered: bool = Field(False, description="One request at a time, in source order.")
    phase: int | None = Field(
        None,
        ge=0,
        description="Of a folder, the jobs of a lower phase run first: 1 for identify, group and alias, 2 for others.",
    )


def job_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the shape of a job file; what its parts mean together `load_job` judges."""
    schema = JobForm.model_json_schema(by_alias=True)
    schema["title"] = "backfill job file"
    return {"$schema": _DIALECT, **without_noise(schema)}


def without_noise(part: Any) -> Any:  # noqa: ANN401
    """The schema without the titles and null defaults that pydantic adds: a field left out is not a null."""
    if isinstance(part, list):
        return [without_noise(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        name: without_noise(one_of_two(value))
        for name, value in part.items()
        if not (name == "title" and isinstance(value, str)) and not (name == "default" and value is None)
    }


def one_of_two(part: Any) -> Any:  # noqa: ANN401
    """`anyOf` of a schema and null becomes the schema: an empty field is refused, not taken as left out."""
    options = part.get("anyOf") if isinstance(part, dict) else None
    if isinstance(options, list) and len(options) == 2 and {"type": "null"} in options:  # noqa: PLR2004
        (real,) = [option for option in options if option != {"type": "null"}]
        return {**real, **{name: value for name, value in part.items() if name != "anyOf"}}
    return part
