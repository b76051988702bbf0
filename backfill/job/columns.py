"""A job against the columns that its source turned out to have. Pure: whoever read the source passes them in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from backfill.document import Faults, Positions, suggest
from backfill.errors import Fault
from backfill.frozen import frozen
from backfill.job.fields import Role
from backfill.job.leaves import expression_columns, named_columns, used_columns
from backfill.job.models import Call, Job, ObjectSpec
from backfill.job.references import Reference, hashed_columns, objects, references
from backfill.job.times import EPOCHS, EXCEL, has_offset
from backfill.records import INTERNAL_PREFIX, Column, Kind, Zone

_NUMBERS = frozenset({Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL})
#: Kinds that will do, by use; a column without any value (NULL) always will.
_FITTING: Mapping[Role, frozenset[Kind]] = {
    Role.ID: frozenset(Kind) - {Kind.NESTED},
    Role.NAME: frozenset(Kind) - {Kind.NESTED},
    Role.KEY: frozenset(Kind) - {Kind.NESTED, Kind.NUMBER},
    Role.MESSAGE_ID: frozenset({Kind.TEXT, Kind.INTEGER, Kind.JSON}),
    Role.CONDITION: frozenset({Kind.BOOLEAN}),
    Role.KIND: frozenset(Kind) - {Kind.NESTED, Kind.NUMBER},
    Role.ORDER: frozenset({Kind.TIMESTAMP, Kind.DATE, Kind.INTEGER, Kind.NUMBER}),
    Role.WHOLE: frozenset({Kind.JSON, Kind.NESTED}),
}
_HINTS = {
    Role.ID: "take a single value out of it in SQL",
    Role.NAME: "take a single value out of it in SQL",
    Role.KEY: "a float prints in more than one way: cast it in SQL, to a decimal or an integer",
    Role.MESSAGE_ID: "message ids are text",
    Role.CONDITION: "write a comparison, such as total > 0",
    Role.KIND: "take a single value out of it in a query",
    Role.ORDER: "declare it under `columns` as what it is, a timestamp say, or cast it in a query",
    Role.WHOLE: "map its members one by one, or declare the column as json",
}
#: What to do about a column that no snapshot holds.
REFUSED_HINT = "leave it out, or write it in the export as text, or as columns of its members"
#: Names listed where no near one is found.
_SHOWN = 20


def check_columns(
    job: Job,
    columns: Sequence[Column],
    positions: Positions,
    *,
    complete: bool = True,
    absent: str = "the source has no column",
) -> list[Fault]:
    """Every fault of the job against these columns, in file order.

    `columns` are the source's (the query's result, where there is a query), with those of `expression_columns` and
    `job.time_columns()` where they are known. `complete` is False where only a sample was read, so that a column which
    is not there may still come: then its absence is not a fault. `absent` are the words before the name of one that is
    not there.
    """
    known = {column.name: column for column in columns}
    check = ColumnCheck(job, known, Faults(positions), complete, absent, expression_columns(job))
    check.declared()
    check.masked()
    for reference in references(job):
        check.reference(reference)
    for place, call in enumerate(job.calls):
        for path, spec in objects(call, place):
            check.star(call, spec, path)
    return sorted(dict.fromkeys(check.faults.found), key=lambda fault: (fault.line, fault.column))


@frozen
class ColumnCheck:
    """One job against one set of columns; what is wrong goes to `faults`."""

    job: Job
    columns: Mapping[str, Column]
    faults: Faults
    complete: bool
    absent: str  # the words before the name of a column that is not there
    expressions: Mapping[str, str]  # SQL text -> snapshot column

    @property
    def names(self) -> list[str]:
        """The source's own columns."""
        return [name for name in self.columns if not name.startswith(INTERNAL_PREFIX)]

    def declared(self) -> None:
        """Note declared columns that the source does not have (a query's result is another matter)."""
        source = self.job.source
        if source.query is None and source.csv.header:
            for name in source.columns:
                self.known(name, f"source.columns.{name}", key=True)

    def masked(self) -> None:
        """Note masked columns that there are not: what is meant would be shown."""
        for index, name in enumerate(self.job.mask if self.job.mask != "all" else ()):
            self.known(name, f"mask[{index}]")

    def known(self, name: str, path: str, *, key: bool = False, role: Role | None = None) -> Column | None:
        """The column of that name; where there is none, that is noted and None returned."""
        column = self.columns.get(name)
        if column is None and self.complete:
            self.faults.add(path, f'{self.absent} "{name}"', self.near(name, role), key=key)
        return column

    def near(self, name: str, role: Role | None) -> str:
        """What may have been meant by a name that is no column's."""
        names = self.names
        outer, _, inner = name.partition(".")
        if inner and outer in self.columns:
            return f"take it out of {outer} in SQL: {{sql: \"{outer}->>'$.{inner}'\"}}"
        alike = [one for one in names if one.casefold() == name.casefold()]
        hint = f'it is written "{alike[0]}"' if alike else suggest(name, names)
        constant = f"a constant is written {{value: {_written(name)}}}"
        if role is Role.NAME and not hint:
            return constant
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        hint = hint or (f"it has: {', '.join(names[:_SHOWN])}{more}" if names else "it has none")
        if role is not Role.MEMBER:
            return hint
        return f"{hint} A{constant[1:]}" if hint.endswith("?") else f"{hint}; {constant}"

    def reference(self, reference: Reference) -> None:
        """Note a use of a column that is not there, or that will not do for it."""
        if reference.sql is not None:
            column = self.columns.get(self.expressions.get(reference.sql, ""))
            shown = "the expression"
        else:
            name = reference.column or ""
            column = self.known(name, reference.path, role=reference.role)
            shown = f'column "{name}"'
        if column is None or column.kind is Kind.NULL or self.unusable(column, reference.path, shown):
            return
        if reference.role is Role.TIME:
            self.time(reference, column, shown)
            return
        fitting = _FITTING.get(reference.role)
        if fitting is not None and column.kind not in fitting:
            message = f"{shown} holds {column.kind}, which will not do for {reference.role.value}"
            self.faults.add(reference.path, message, _HINTS[reference.role])
        if reference.as_ == "number" and column.kind not in _NUMBERS | {Kind.TEXT, Kind.JSON}:
            self.faults.add(f"{reference.path}.as", f"{shown} holds {column.kind}, which is not a number")
        self.zone(column, reference.path, shown, None)

    def unusable(self, column: Column, path: str, shown: str) -> bool:
        """Whether the column holds what has no JSON form; if so, that is noted."""
        if column.refused:
            self.faults.add(path, f"{shown} holds {column.refused}, which cannot be sent as it is", REFUSED_HINT)
            return True
        if column.kind not in (Kind.BINARY, Kind.INTERVAL):
            return False
        cast = "hex(...) or base64(...)" if column.kind is Kind.BINARY else "epoch(...)"
        self.faults.add(path, f"{shown} holds {column.kind}, which JSON does not have", f"cast it in SQL: {cast}")
        return True

    def zone(self, column: Column, path: str, shown: str, stated: str | None) -> None:
        """Note local times that no zone is stated for."""
        declared = self.job.source.columns.get(column.name)
        zone = stated or (declared.timezone if declared else None) or self.job.source.timezone
        if column.kind is Kind.TIMESTAMP and column.zone is Zone.NAIVE and zone is None:
            hint = "state `timezone` on the source (or on the column, or on the call's timestamp)"
            self.faults.add(path, f"{shown} holds local times, and no time zone is stated", hint)

    def time(self, reference: Reference, column: Column, shown: str) -> None:
        """Note a timestamp that cannot be read from this column."""
        spec, path = self.job.calls[reference.call].timestamp, reference.path
        if column.kind is Kind.TIMESTAMP:
            if spec.format is not None:
                self.faults.add(f"{path}.format", f"{shown} is a timestamp already", "leave `format` out", key=True)
            self.zone(column, path, shown, spec.timezone)
        elif column.kind is Kind.DATE:
            midnight = Column(column.name, Kind.TIMESTAMP, Zone.NAIVE)
            self.zone(midnight, path, shown, spec.timezone)
        elif column.kind is Kind.TEXT and reference.sql is None and spec.format is not None:
            parsed = self.columns.get(self.job.time_columns().get((column.name, spec.format), ""))
            naive = Zone.UTC if has_offset(spec.format) or spec.format == "iso8601" else Zone.NAIVE
            self.zone(parsed or Column(column.name, Kind.TIMESTAMP, naive), path, shown, spec.timezone)
        elif reference.sql is None and spec.format == EXCEL and column.kind in _NUMBERS | {Kind.JSON}:
            self.zone(Column(column.name, Kind.TIMESTAMP, Zone.NAIVE), path, shown, spec.timezone)
        elif spec.format not in EPOCHS or column.kind not in _NUMBERS | {Kind.TEXT, Kind.JSON}:
            hint = self.made_a_time(column, spec.format, of_sql=reference.sql is not None)
            self.faults.add(path, f"{shown} holds {column.kind}, not timestamps", hint)

    def made_a_time(self, column: Column, stated: str | None, *, of_sql: bool) -> str:
        """How a column that holds no times is read as such; `stated` is the format that the call has for it."""
        if column.kind not in _NUMBERS | {Kind.TEXT}:
            return "declare the column as timestamp, or make one of it in SQL"
        if of_sql and column.kind is Kind.TEXT:
            return "make it a timestamp in the expression, with strptime(...)"
        if column.kind in _NUMBERS and column.name in self.job.source.columns:
            if stated is not None:
                return "declare it as text under `columns`: `format` reads text"
            return "declare it as timestamp under `columns`, with its `format`, or state here epoch_s or the like"
        if column.kind in _NUMBERS and "%" in (stated or ""):
            return "make it a timestamp in SQL: {sql: \"strptime(CAST(... AS VARCHAR), '%Y%m%d')\"}"
        return "state its `format`: iso8601, epoch_s, epoch_ms, epoch_us, epoch_ns, excel or a strptime pattern"

    def star(self, call: Call, spec: ObjectSpec, path: str) -> None:
        """Note what `"*"` would take in and cannot, and exclusions of nothing."""
        if spec.star is None:
            return
        for index, name in enumerate(spec.star.exclude):
            self.known(name, f"{path}.*.exclude[{index}]")
        left_out = used_columns(call) | named_columns(spec) | set(spec.star.exclude)
        left_out |= hashed_columns(self.job, self.columns)
        for name in self.names:
            column = self.columns[name]
            if name not in left_out and not self.unusable(column, f"{path}.*", f'column "{name}"'):
                self.zone(column, f"{path}.*", f'column "{name}"', None)


def _written(text: str) -> str:
    """A text as YAML has it within a mapping of one line."""
    return text if re.fullmatch(r"[A-Za-z_][\w .-]*", text) else json.dumps(text, ensure_ascii=False)
