"""Which columns' values no sample shows, as the job masks them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace

import polars as pl

from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.mapping import CompiledCall
from backfill.mapping.template import Facts, ObjectTemplate, joined
from backfill.masking import MASKED
from backfill.prepare.evaluate import reads_of
from backfill.records import Column, Problem, Snapshot
from backfill.records.profile import BadValues


@frozen
class Masks:
    """Which columns' values are never shown."""

    columns: Mapping[str, Column] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    everything: bool = False

    def hide(self, call: CompiledCall, value: pl.Expr) -> bool:
        """Whether a value of a call comes from such a column, also by way of SQL."""
        if self.everything:
            return True
        if not self.names:
            return False
        return any(name in self.names for name in self._sources(reads_of(call, value)[0]))

    def hides_column(self, name: str) -> bool:
        """Whether a column of the rows is masked, or comes from one that is."""
        return self.everything or any(each in self.names for each in self._sources([name]))

    def hidden_paths(self, call: CompiledCall) -> tuple[tuple[str, ...], ...]:
        """Where in the JSON of a call there are values of masked columns, as the names on the way to each."""
        return tuple(self._hidden(call, call.members, ())) if self.everything or self.names else ()

    def _hidden(
        self, call: CompiledCall, template: ObjectTemplate, above: tuple[str, ...]
    ) -> Iterator[tuple[str, ...]]:
        if template.from_column is not None and self.hide(call, joined(template.braced(Facts()))):
            yield above
        for name, value in template.members.items():
            if isinstance(value, ObjectTemplate):
                yield from self._hidden(call, value, (*above, name))
            elif reads_of(call, value.text)[0] and self.hide(call, value.text):
                yield (*above, name)

    @classmethod
    def of(cls, job: Job, snapshot: Snapshot) -> Masks:
        """Those of a job."""
        names = frozenset() if job.mask == "all" else frozenset(job.mask)
        return cls({column.name: column for column in snapshot.columns}, names, job.mask == "all")

    def problem(self, problem: Problem) -> Problem:
        """The problem as a sample that may be shown: without its value where a masked column is named beside it.

        So is a record that could not be read, whose value is all of it.
        """
        whole = bool(self.names) and not problem.call and not problem.column
        named = whole or self._names(problem.column)
        return replace(problem, value=MASKED) if named and problem.value else problem

    def values(self, found: Mapping[tuple[str, str], BadValues]) -> dict[tuple[str, str], BadValues]:
        """Values of problems as they may be shown, by code and column: of a masked column only how many."""
        return {
            (code, column): BadValues({MASKED: sum(values.counts.values())}, values.exact)
            if self._names(column)
            else values
            for (code, column), values in found.items()
        }

    def _names(self, column: str) -> bool:
        return self.everything or any(_named(name, column) for name in self.names)

    def _sources(self, names: Iterable[str]) -> Iterable[str]:
        raw = {column.raw: column.name for column in self.columns.values() if column.raw}
        for name in names:
            own = raw.get(name, name)
            yield own
            if own in self.columns:
                yield from self.columns[own].reads


def _named(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
