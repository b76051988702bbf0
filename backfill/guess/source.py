"""The `source` of a job over data that nobody has described yet: its format, its dialect, its table."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backfill.errors import JobError, SourceError, UsageError
from backfill.frozen import frozen
from backfill.guess.dialect import HEAD_BYTES, dialect_of
from backfill.job.database_checks import holds_password
from backfill.job.file import SourceForm
from backfill.job.formats import FILE_FORMATS, FORMATS, SUFFIXES
from backfill.job.load import build_source
from backfill.job.models import Job
from backfill.job.remote import is_remote
from backfill.records import SourceFile
from backfill.sources import locate
from backfill.sources.databases.address import url_of
from backfill.sources.foreign import foreign
from backfill.sources.formats import format_named, format_of
from backfill.sources.origins.content import never, origin_of, plain_pieces, until
from backfill.sources.origins.fetched import OBJECT_COPIES
from backfill.sources.sql.kept import kept_engine

#: Suffixes of databases that are one file -> the scheme of their URL.
DATABASE_FILES = {".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db3": "sqlite", ".duckdb": "duckdb"}
#: What lists the tables of a database: SQLite's own, and everybody else's.
_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY 1",
    "": "SELECT table_name AS name FROM information_schema.tables "
    "WHERE table_schema NOT IN ('information_schema', 'pg_catalog', 'mysql', 'sys', 'performance_schema') ORDER BY 1",
}
#: A relative path that begins so tells less than the whole one.
_FAR = "../../.."
_STANDARD_INPUT = "-"


@frozen
class Asked:
    """What a guess is asked of."""

    data: tuple[str, ...] = ()
    database: str | None = None
    table: str | None = None
    query: str | None = None
    type: str | None = None  # of the call


@dataclass(slots=True)
class Described:
    """A source before a row of it is read: the fields of the job file, as they are read, with why and what is open."""

    fields: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)  # evidence, by the field's path below `source`
    blanks: dict[str, str] = field(default_factory=dict)  # by the same path: what there is to choose from
    made_up: bool = False  # the columns' names
    format: str = ""

    def job(self, path: Path) -> Job:
        """A job over it that makes no calls; `path` is where the job file would be."""
        form = SourceForm.model_validate(self.fields)
        return Job(
            version=1, name="guess", source=build_source(form), calls=(), path=str(path), raw={"source": self.fields}
        )


def describe(asked: Asked, path: Path, stopping: Callable[[], bool] = never) -> Described:
    """The source that is meant; `path` is where the job file would be, which its paths are relative to.

    Raises:
        UsageError: None is named, or it cannot be looked at twice.
        SourceError: It cannot be read.
        JobError: It is nothing that is read.
        InterruptedRunError: `stopping` became true while a store was waited for.
    """
    database = asked.database or _as_database(asked.data, path.parent)
    if (database is None) != bool(asked.data) and asked.database is not None:
        raise UsageError("name either files or a `--database`", hint="`--database URL` stands alone, with a `--table`")
    if database is not None:
        return _database(database, asked, path)
    if _STANDARD_INPUT in asked.data:
        raise UsageError("standard input cannot be looked at and then read", hint="save it to a file, and name that")
    if not asked.data:
        raise UsageError("nothing is named to guess from", hint="name a file, a folder, a pattern or a URL")
    paths = [placed(one, path.parent) for one in asked.data]
    found = Described({"path": paths[0] if len(paths) == 1 else paths})
    with OBJECT_COPIES.passing(until(stopping)):
        _find_format(found, asked, path, stopping)
    return found


def placed(text: str, folder: Path) -> str:
    """A path as a job file in the folder has it: relative where it is near; a URL as it is."""
    if is_remote(text) or "://" in text:
        return text
    whole = os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111 (links are the user's own names, and stay)
    near = os.path.relpath(whole, folder)
    return whole if near.startswith(_FAR) else near + ("/" if text.endswith("/") else "")


def _as_database(data: tuple[str, ...], folder: Path) -> str | None:
    """The URL of a database that is the one file named, by its suffix."""
    scheme = DATABASE_FILES.get(Path(data[0]).suffix.lower()) if len(data) == 1 and "://" not in data[0] else None
    return f"{scheme}:///{placed(data[0], folder)}" if scheme else None


def _database(url: str, asked: Asked, path: Path) -> Described:
    if holds_password(url):
        raise UsageError(
            "the database's URL has a password, which would stand in the job file",
            hint="put the URL into an environment variable, and name that: --database '${SHOP_DATABASE}'",
        )
    if asked.query is not None:
        return Described({"database": url, "query": asked.query}, format="database")
    table = asked.table
    if table is None:
        from backfill.guess.sample import look  # noqa: PLC0415 (polars)

        scheme = url_of(Described({"database": url, "query": "SELECT 1"}).job(path)).partition(":")[0]
        listed = Described({"database": url, "query": _TABLES.get(scheme, _TABLES[""])})
        with kept_engine(None) as kept:
            names = look(listed.job(path), None, kept).frame["name"].to_list()
        if len(names) != 1:
            known = f"it has {', '.join(names[:20])}" if names else "it has none"
            raise UsageError("which table of the database is meant is not said", hint=f"`--table NAME`: {known}")
        (table,) = names
    return Described({"database": url, "table": table}, format="database")


def _find_format(found: Described, asked: Asked, path: Path, stopping: Callable[[], bool]) -> None:
    """Fill in the format, and what else its reader has to be told."""
    job = found.job(path)
    try:
        first = locate(job, stopping=stopping)[0]
    except JobError as error:
        job, first = _of_archive(found, path, error)
    try:
        found.format = format_of(job, first.path).name
        head = b""
    except JobError as error:
        head = b"".join(_head(first))
        found.format = _by_content(head, error)
        found.fields["format"] = found.format
        found.notes["format"] = "by its first bytes, as the name does not say"
    takes = FORMATS[found.format].takes
    if asked.table is not None and "table" in takes:
        found.fields["table"] = asked.table
    if asked.table is not None and "excel" in takes:
        found.fields["excel"] = {"sheet": asked.table}
    if "table" in takes and asked.table is None:
        made = re.findall(
            rb"(?i)^CREATE TABLE (?:IF NOT EXISTS )?([^\s(]+)", head or b"".join(_head(first)), re.MULTILINE
        )
        known = ", ".join(name.decode("utf-8", "replace").strip('`"') for name in made[:20])
        raise UsageError(
            "which table of the dump is meant is not said", hint=f"`--table NAME`: it has {known or 'none'}"
        )
    if "csv" in takes:
        head = head or b"".join(_head(first))
        _find_dialect(found, head, cut=len(head) >= HEAD_BYTES)


def _of_archive(found: Described, path: Path, error: JobError) -> tuple[Job, SourceFile]:
    """The first file of archives that hold several: those of one suffix; raises the error where there are none."""
    for pattern in (f"*{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz")):
        tried = Described({**found.fields, "members": pattern})
        try:
            first = locate(tried.job(path))[0]
        except (JobError, SourceError):
            continue
        found.fields["members"] = pattern
        found.notes["members"] = "of the files in the archive"
        return found.job(path), first
    raise error


def _head(file: SourceFile) -> list[bytes]:
    pieces, size = [], 0
    for piece in plain_pieces(origin_of(file)):
        pieces.append(piece[: HEAD_BYTES - size])
        size += len(piece)
        if size >= HEAD_BYTES:
            break
    return pieces


def _by_content(head: bytes, error: JobError) -> str:
    """The format of a text whose name says nothing; raises the error where it is none."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    dumps = [name for name in FILE_FORMATS if format_named(name).heading]
    dump = next((name for name in dumps if re.match(format_named(name).heading, head)), None)
    if dump is not None:
        return dump
    if start in (b"{", b"["):
        return "ndjson" if start == b"{" else "json"
    if foreign(head) is not None:
        raise error
    if b"\0" in head[:HEAD_BYTES] and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise error
    return "csv"


def _find_dialect(found: Described, head: bytes, *, cut: bool) -> None:
    usual = "\t" if found.format == "tsv" else ","
    dialect = dialect_of(head, cut=cut, usual=usual)
    if dialect.csv:
        found.fields["csv"] = dialect.csv
    found.notes |= {f"csv.{name}": note for name, note in dialect.notes.items()}
    found.blanks |= {f"csv.{name}": note for name, note in dialect.blanks.items()}
    if dialect.names:
        found.fields["columns"] = dict.fromkeys(dialect.names, "text")
        found.made_up = dialect.made_up
