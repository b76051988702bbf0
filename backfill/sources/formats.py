"""The registry of formats: which one a file has by the job or its name, and whether its first bytes agree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from backfill.errors import JobError, SourceError
from backfill.job.formats import (
    COMPRESSED,
    DATABASES,
    FILE_FORMATS,
    FORMATS,
    SETTINGS,
    SUFFIXES,
    live_format,
    suffix_within,
)
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.databases.address import scheme_of
from backfill.sources.foreign import BY_SUFFIX, foreign
from backfill.sources.origins.compression import is_cut, packing_of
from backfill.sources.origins.content import HEAD_BYTES, Origin, first_bytes, origin_at, plain_pieces
from backfill.sources.origins.stamps import unchanged
from backfill.sources.reader import Format

#: What to do with files of a packing that begin otherwise, where others of that name are about.
_OTHER_FRAMES = {
    "lz4": "only LZ4 frames are read: unpack it with `lz4 -d FILE`, and name what comes out",
    "snappy": "only snappy's framing format is read: unpack it, Hadoop's with `snzip -d -t hadoop-snappy FILE`",
}


def format_named(name: str) -> Format:
    """The format of that name, one of backfill.job.formats."""
    module, _, attribute = FORMATS[name].home.partition(":")
    found: Format = getattr(import_module(f"backfill.sources.{module}"), attribute)
    return found


def format_of(job: Job, path: str) -> Format:
    """The format of a file, as the job says or the file's suffix tells.

    Raises:
        JobError: neither does, or the suffix is of something that is not read.
    """
    live = live_format(path)
    if live is not None:
        return format_named(live)
    if job.source.database is not None:
        return format_named(DATABASES.get(scheme_of(job), "sqlite"))
    if job.source.format is not None:
        return format_named(job.source.format)
    return format_named("json") if job.source.records else format_by_suffix(Path(path))


def format_by_suffix(name: Path) -> Format:
    """What a file's suffix tells; raises JobError as `format_of` does."""
    inner = suffix_within(name)
    found = SUFFIXES.get(inner)
    if found is not None:
        return format_named(found)
    if inner in BY_SUFFIX:
        known = BY_SUFFIX[inner]
        raise JobError(f"source.path: {name.name} is {known.what}, by its suffix", hint=known.hint)
    return _by_first_bytes(name)


def _by_first_bytes(path: Path) -> Format:
    """What a file's first bytes tell where its name says nothing; no text can be told so."""
    name = path.name
    head = b""
    with suppress(SourceError):  # which is told where the file is opened
        head = plain_head(origin_at(str(path), name))
    found = _magic(head)
    if found is not None:
        return found
    if (other := foreign(head)) is not None:
        raise JobError(f"source.path: {name} is {other.what}, by its first bytes", hint=other.hint)
    likely = "ndjson" if head.lstrip()[:1] in (b"{", b"[") else "csv"
    raise JobError(
        f"source.format: what {name} holds cannot be told by its name, nor by its first bytes",
        hint=f"say it in the job file, for example `format: {likely}` ({', '.join(sorted(FILE_FORMATS))})",
    )


def _magic(head: bytes) -> Format | None:
    """The format whose files begin so; some signs are letters, which a text may begin with."""
    formats = map(format_named, FILE_FORMATS if b"\x00" in head else ())
    return next((one for one in formats if one.magic and head.startswith(one.magic)), None)


def _by_heading(head: bytes, expected: Format) -> Format | None:
    """The other kind of dump whose scripts begin so, where a dump is expected."""
    if not expected.heading or re.match(expected.heading, head):
        return None
    formats = map(format_named, FILE_FORMATS)
    return next((one for one in formats if one.heading and re.match(one.heading, head)), None)


def plain_head(origin: Origin) -> bytes:
    """The first bytes, unpacked; raises SourceError where there are none to be had."""
    head = first_bytes(origin)
    return next(plain_pieces(origin), b"")[:HEAD_BYTES] if packing_of(head) else head


def one_format(job: Job, files: Iterable[SourceFile]) -> Format:
    """The format that all the files have; raises JobError where they differ, or the job has settings of another one."""
    found = {format_of(job, file.path).name: file for file in files}
    if len(found) > 1:
        these = ", ".join(f"{found[name].name} is {name}" for name in sorted(found))
        both = ", or state `format: json`, which reads ndjson too" if found.keys() == {"json", "ndjson"} else ""
        raise JobError(f"source.path: files of several formats: {these}", hint=f"make a job of each format{both}")
    (name, file), *_ = found.items()
    said = job.raw.get("source", {}).keys() if not job.source.all_text else set()  # of an export's source, not of it
    for setting in SETTINGS.keys() & said - set(FORMATS[name].takes):
        formats, hint = SETTINGS[setting]
        raise JobError(f"source.{setting}: is for {formats} only, and {file.name} is {name}", hint=hint)
    return format_named(name)


def refuse_foreign(origin: Origin, expected: Format) -> None:
    """Look at a file's first bytes, unpacked.

    Raises:
        SourceError: they are of something else than the format, or cannot be read or unpacked.
    """
    head = first_bytes(origin)
    packing = packing_of(head)
    if not expected.packable:
        if packing is not None:
            raise SourceError(
                f"{origin.name} is compressed as a whole, by {packing.name}", hint="unpack it, and name that file"
            )
        return
    by_suffix = COMPRESSED.get(Path(origin.path).suffix.lower())
    if packing is None and by_suffix is not None and is_cut(head, by_suffix):
        raise SourceError(
            f"{origin.name} is truncated: it holds no {by_suffix} data", hint="fetch or export the file again"
        )
    if packing is None and by_suffix in _OTHER_FRAMES:
        raise SourceError(f"{origin.name} holds no {by_suffix} data as its name says", hint=_OTHER_FRAMES[by_suffix])
    if packing is not None:
        head = next(plain_pieces(origin), b"")[:HEAD_BYTES]
        if packing_of(head) is not None:
            raise SourceError(f"{origin.name} is compressed twice", hint="unpack it once, and name that file")
    _refuse_signs(origin.name, head, expected)


def _refuse_signs(name: str, head: bytes, expected: Format) -> None:
    """Raise SourceError where a file begins as another format, or as something that is not read, does."""
    if expected.begins(head):
        return
    other, known = _magic(head) or _by_heading(head, expected), foreign(head)
    if known is not None:
        raise SourceError(f"{name} is {known.what}, not {expected.name}", hint=known.hint)
    if other is not None and other.heading:
        message = f"{name} is a dump of the kind {other.name}, not {expected.name}"
        raise SourceError(message, hint=f"say `format: {other.name}`")
    if other is not None:
        raise SourceError(
            f"{name} is {other.name.capitalize()}, not {expected.name}", hint=f"say `format: {other.name}`"
        )


def line_of(file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
    """The line, from 1, that each of those records of a text file begins at, looked up when a problem is shown.

    The file is read again: empty for a file that has changed since, for an object in a
    bucket, and for formats without lines.
    Records are numbered as problems number them.
    """
    if not records or file.pin or not unchanged(file):
        return {}
    return format_of(job, file.path).lines(file, job, sorted(set(records)))
