"""A job proposed for a source: sampled, measured, and written as a file that says why."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from backfill.errors import JobError, SourceError
from backfill.frozen import frozen
from backfill.guess.measure import measure
from backfill.guess.roles import roles_of
from backfill.guess.round_trip import pruned
from backfill.guess.sample import Sample, look, records_within
from backfill.guess.source import DATABASE_FILES, Asked, Described, describe
from backfill.guess.vendors import recipe, vendor_of
from backfill.guess.write import Evidence, heading, job_text
from backfill.job.blanks import BLANK
from backfill.job.formats import COMPRESSED, SUFFIXES
from backfill.pipeline.context import RunContext
from backfill.sources import locate
from backfill.sources.foreign import ARCHIVES
from backfill.sources.origins.content import never
from backfill.sources.sql.kept import KeptEngine, kept_engine

__all__ = ["Asked", "Guess", "guess"]

#: Suffixes that are no part of a source's name, one after the other.
_ENDS = {*SUFFIXES, *COMPRESSED, *ARCHIVES, *DATABASE_FILES, ".sql", ".txt"}
_SUFFIXES = re.compile(f"({'|'.join(map(re.escape, sorted(_ENDS)))})+$", re.IGNORECASE)


@frozen
class Guess:
    """A proposed job file."""

    text: str
    source: Described
    evidence: Evidence
    tool: str = ""  # whose export it is
    blanks: tuple[int, ...] = field(default=())  # lines


def guess(asked: Asked, path: Path, shown: str, context: RunContext | None = None) -> Guess:
    """The job file that a look at the source proposes; `path` is where it would be, comments call the data `shown`.

    Raises:
        UsageError: No source is named, or none that can be looked at.
        SourceError: It cannot be read.
        JobError: It is nothing that is read.
    """
    source = describe(asked, path, context.stop.is_set if context is not None else never)
    with kept_engine(None) as kept:
        found = look_at_source(source, path, context, kept)
        vendor = vendor_of(found.frame, source.format) if asked.type is None else None
        delimiter = source.fields.get("csv", {}).get("delimiter", ",")
        facts, nulls = ([], {}) if vendor else measure(found, delimiter, kept)
    evidence = Evidence(
        facts, len(found.frame), found.whole, found.unreadable, nulls if source.format in ("csv", "tsv") else {}
    )
    told_gone: list[str] = []
    if vendor is not None:
        body = recipe(vendor, source)
        if found.whole:
            body, gone = pruned(body, set(found.frame.columns))
            told_gone = [f"# Left out of the recipe, as no record has it: {', '.join(gone)}."] if gone else []
    else:
        stem = stem_of(source)
        body = job_text(_slug(stem), source, evidence, roles_of(facts, found.frame, stem, asked.type))
    told = f"{vendor.tool}'s export, by its columns" if vendor else ""
    text = "\n".join([*heading(shown, evidence, path, told), *told_gone, body])
    lines = [place for place, line in enumerate(text.splitlines(), 1) if _BLANK.search(line.split(" # ")[0])]
    return Guess(text, source, evidence, vendor.tool if vendor else "", tuple(line for line in lines if line > 1))


def look_at_source(source: Described, path: Path, context: RunContext | None, kept: KeptEngine) -> Sample:
    """The first rows; files whose columns differ are united, and records within a document found: the job says so."""
    try:
        found = look(source.job(path), context, kept)
        if source.format == "excel" and _titled(found):
            return _below_title(found, source, path, context, kept)
        way = records_within(found) if source.format == "json" and "records" not in source.fields else ""
        if not way:
            return found
        source.fields["records"] = way
        source.notes["records"] = "the list of objects in the document"
        return look(source.job(path), context, kept)
    except SourceError as error:
        if "union: by_name" not in error.hint or "union" in source.fields:
            raise
    source.fields["union"] = "by_name"
    source.notes["union"] = "the files' columns differ: what one lacks is null"
    try:
        return look(source.job(path), context, kept)
    except JobError as error:
        one = locate(source.job(path))[0].name
        hint = f"the files have other columns each: where they are other tables, guess from one of them, such as {one}"
        raise JobError(error.message, hint=hint) from error


def _titled(found: Sample) -> bool:
    """Whether most columns of a sheet have no name: its first row is a title then, and no header."""
    named = [name for name in found.frame.columns if not _UNNAMED.fullmatch(name)]
    return 2 * len(named) < len(found.frame.columns)


def _below_title(found: Sample, source: Described, path: Path, context: RunContext | None, kept: KeptEngine) -> Sample:
    """The sheet from its first row on that names every column; as it was where none of the first does."""
    before = dict(source.fields.get("excel", {}))
    for row in range(2, _TITLE_ROWS + 1):
        source.fields["excel"] = {**before, "header_row": row}
        with suppress(SourceError):
            below = look(source.job(path), context, kept)
            if not any(_UNNAMED.fullmatch(name) for name in below.frame.columns):
                source.notes["excel"] = "the first row with a name for every column"
                return below
    source.fields["excel"] = before
    if not before:
        del source.fields["excel"]
    return found


#: What a column is called whose header is empty; and how far down a sheet's header is looked for.
_UNNAMED = re.compile(r"column_\d+")
_TITLE_ROWS = 10
_BLANK = re.compile(rf"^(?!#).*\b{BLANK}\b")


def stem_of(source: Described) -> str:
    """What the source is called: its table, its database, or its file without suffixes and patterns."""
    if "table" in source.fields:
        return str(source.fields["table"]).rpartition(".")[2]
    path = source.fields.get("path") or str(source.fields.get("database", "")).partition("?")[0]
    first = path if isinstance(path, str) else path[0]
    parts = [part for part in first.split("/") if part not in ("", ".", "..")]
    names = [_SUFFIXES.sub("", part).strip("*?[]-_. ") for part in reversed(parts)]
    return next((name for name in names if name), "data")


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text.lower()).strip("-._*") or "data"
