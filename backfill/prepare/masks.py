"""Samples of values as people may see them: short, and with what tells who somebody is masked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Final

import polars as pl

from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.mapping import CompiledCall
from backfill.prepare.evaluate import reads_of
from backfill.records import Column, Problem, Snapshot

#: Stands for a value of a column that is to be masked.
MASKED: Final = "(masked)"
#: Characters of a sample.
SAMPLE_CHARACTERS: Final = 32
_EMAIL: Final = re.compile(r"([^\s@<>\"',;:]{1,64})@([^\s@<>\"',;:]{1,255})")
_DIGITS: Final = re.compile(r"\+?\d(?:[\s().-]{0,2}\d){6,}")
_INSTANT: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ][\d:.]+(?:Z|[+-][\d:]+)?)?")
_ID: Final = re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{12,}\b")


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

    @classmethod
    def of(cls, job: Job, snapshot: Snapshot) -> Masks:
        """Those of a job."""
        names = frozenset() if job.mask == "all" else frozenset(job.mask)
        return cls({column.name: column for column in snapshot.columns}, names, job.mask == "all")

    def problem(self, problem: Problem) -> Problem:
        """The problem as a sample that may be shown: without its value where a masked column is named beside it."""
        named = self.everything or any(_named(name, problem.column) for name in self.names)
        return replace(problem, value=MASKED) if named and problem.value else problem

    def _sources(self, names: Iterable[str]) -> Iterable[str]:
        raw = {column.raw: column.name for column in self.columns.values() if column.raw}
        for name in names:
            own = raw.get(name, name)
            yield own
            if own in self.columns:
                yield from self.columns[own].reads


def _named(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def shortened(text: str) -> str:
    """A sample of a text that may be shown: masked, and cut to SAMPLE_CHARACTERS.

    Of an email the first character and the top-level domain stay (`j...@...org`), of a row of seven digits or more the
    first two and the last two (`49...12`), of a word of twelve characters or more with letters and digits the first
    four (`a1b2...`). Dates and instants stay as they are.
    """
    near = text[: 8 * SAMPLE_CHARACTERS]
    if _INSTANT.fullmatch(near):
        return near
    near = _EMAIL.sub(_email, near)
    near = _ID.sub(lambda found: f"{found[0][:4]}...", near)
    near = _DIGITS.sub(_digits, near)
    near = " ".join(near.split())
    cut = len(near) > SAMPLE_CHARACTERS or len(text) > 8 * SAMPLE_CHARACTERS
    return f"{near[: SAMPLE_CHARACTERS - 3]}..." if cut else near


def _email(found: re.Match[str]) -> str:
    return f"{found[1][0]}...@...{found[2].rpartition('.')[2] if '.' in found[2] else ''}"


def _digits(found: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", found[0])
    return f"{digits[:2]}...{digits[-2:]}"
