"""Which files a source is made of, in byte order of their names, and what is in them: hash, size, soundness."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from backfill.errors import JobError, SourceError
from backfill.job.formats import DATABASES, FORMATS, live_format
from backfill.job.models import Job
from backfill.job.remote import is_remote
from backfill.records import SourceFile
from backfill.sources.databases.address import is_live, live_source, url_of
from backfill.sources.formats import format_by_suffix, format_named, format_of, refuse_foreign
from backfill.sources.manifest import with_listed_files, with_listed_objects
from backfill.sources.members import object_members, size_of_member, with_members
from backfill.sources.origins.archives import ArchiveMember, container
from backfill.sources.origins.buckets import found_objects
from backfill.sources.origins.content import (
    Origin,
    Watch,
    cannot_be_read,
    compression_of,
    digest,
    ignore_progress,
    never,
    origin_at,
    origin_of,
    plain_pieces,
    until,
    unwatched,
)
from backfill.sources.origins.copies import COPIES
from backfill.sources.origins.fetched import OBJECT_COPIES, refuse_too_large
from backfill.sources.origins.listing import TABLE_LOGS, FileFinder, leads_nowhere, printable, refuse_unusual
from backfill.sources.origins.stamps import Stamp, stamp_of, stamp_of_file
from backfill.sources.origins.standard_input import STANDARD_INPUT, keep_standard_input

HASHING_THREADS = 4
#: Objects are waited for more than they are read.
FETCHING_THREADS = 16
#: Whose beginnings are looked at, of a source in a bucket, where only a look is wanted.
LOOKED_AT = 8
#: Plain bytes that a look at compressed files goes through.
LOOK_BYTES = 16 * 2**20
#: A relative path that begins so tells less than the whole one.
_FAR = "../../.."
#: What the keys of a query's further inputs begin with.
_FURTHER = "files/"
#: A file that was found: its path, what messages call it, its key.
Entry = tuple[Path, str, str]
#: Below the folder that the standard input is copied to: the copies of objects.
OBJECTS = "objects"


def resolve(
    job: Job,
    *,
    folder: Path | None = None,
    trusted: Mapping[Stamp, str] | Iterable[SourceFile] = (),
    progress: Callable[[int, int], None] = ignore_progress,
    stopping: Callable[[], bool] = never,
) -> tuple[SourceFile, ...]:
    """The source's files in byte order of their names, each read once for its SHA-256 and its own checksums.

    Behind them stand those of `source.files`, one for each, as `extra_files` tells them apart. Files whose stamp is
    in `trusted` (stamp -> SHA-256, or files resolved before) are not read again. The standard input is first copied
    to `folder`. `progress` gets 0 rows and the bytes read so far, from one of several threads at a time.

    Raises:
        SourceError: a file is missing, corrupt, truncated, found by two names, or the only one and empty.
        JobError: the source is of a kind that is not supported, or cannot be one.
        InterruptedRunError: `stopping` became true.
    """
    if is_live(job):
        return (live_source(job),)
    if folder is not None:
        COPIES.keep_in(folder)
    watch = until(stopping, _total(progress))
    fetched = OBJECT_COPIES
    stop = until(stopping)
    with fetched.kept_in(folder / OBJECTS, stop) if folder is not None else fetched.passing(stop):
        found = _found(job, folder, watch)
        known = trusted if isinstance(trusted, Mapping) else {stamp_of_file(file): file.sha256 for file in trusted}
        remote = [one for one in found if isinstance(one, SourceFile) and stamp_of_file(one) not in known]
        if folder is not None:
            refuse_too_large(remote, folder)
        with ThreadPoolExecutor(FETCHING_THREADS if remote else HASHING_THREADS, "hash") as pool:
            files = tuple(pool.map(partial(_source_file, job, known, watch), found))
    _refuse_useless(job, files)
    return files


def _total(progress: Callable[[int, int], None]) -> Watch:
    """A watch for several threads that tells the progress the sum."""
    lock, total = Lock(), 0

    def add(size: int) -> None:
        nonlocal total
        with lock:
            total += size
            progress(0, total)

    return add


def locate(job: Job, *, stopping: Callable[[], bool] = never) -> tuple[SourceFile, ...]:
    """The same files, unread: their SHA-256 is empty. Not for the standard input.

    Raises:
        SourceError: a file is missing, found by two names, or the only one and empty.
        JobError: the source is of a kind that is not supported, or cannot be one.
        InterruptedRunError: `stopping` became true while a store was waited for.
    """
    if is_live(job):
        return (live_source(job),)
    with OBJECT_COPIES.passing(until(stopping)):
        found = _found(job, None, until(stopping))
        objects = [entry for entry in found if isinstance(entry, SourceFile)]
        unseen = frozenset(entry.path for entry in objects[LOOKED_AT:])
        files = tuple(
            entry
            if isinstance(entry, SourceFile) and entry.path in unseen
            else _source_file(job, None, unwatched, entry)
            for entry in found
        )
    _refuse_useless(job, files)
    return files


def beginning(job: Job, files: Sequence[SourceFile]) -> Sequence[SourceFile]:
    """Of the files of a source, those that a look at it goes through: of objects in a bucket only the first ones.

    Unless their columns differ, as the job says, so that the others may have more.
    """
    remote = any(file.pin for file in files)
    return files[:LOOKED_AT] if remote and job.source.union is None else files


def look_through(files: Sequence[SourceFile]) -> None:
    """Unpack what is compressed, up to LOOK_BYTES in all; raises SourceError where that shows damage."""
    left = LOOK_BYTES
    for file in files:
        if left <= 0 or live_format(file.path):
            return
        origin = origin_of(file)
        if isinstance(origin, ArchiveMember) or compression_of(origin) is not None:
            for piece in plain_pieces(origin):
                left -= len(piece)
                if left <= 0:
                    return


def _found(job: Job, folder: Path | None, watch: Watch) -> list[Entry | SourceFile]:
    """Every file of the source, and behind them every further input of its query."""
    main = _database_files(job) if job.source.database is not None else _named_files(job, folder, watch)
    return [*main, *(_further(job, name, written, watch) for name, written in job.source.files.items())]


def _further(job: Job, name: str, written: str, watch: Watch) -> Entry | SourceFile:
    """A further input of a query, which is one file."""
    if is_remote(written):
        found = found_objects(written, watch)
        if len(found) > 1:
            raise SourceError(
                f"source.files.{name}: {written} stands for {len(found)} objects", hint="a further input is one file"
            )
        return replace(found[0], key=f"{_FURTHER}{name}")
    path = local_path(job, written)
    return (path, _shown(job, path), f"{_FURTHER}{name}")


def extra_files(job: Job, files: Sequence[SourceFile]) -> tuple[tuple[SourceFile, ...], dict[str, SourceFile]]:
    """The source's own files, and the further inputs of its query by their names."""
    own = len(files) - len(job.source.files)
    return tuple(files[:own]), dict(zip(job.source.files, files[own:], strict=True))


def _refuse_useless(job: Job, files: Sequence[SourceFile]) -> None:
    """Raise where a lone file is empty, or files could not be told apart in ids."""
    files, _ = extra_files(job, files)
    if len(files) == 1 and files[0].bytes == 0:
        raise nothing_in(files, job)
    keys = [file.key for file in files]
    repeated = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
    if repeated and any(call.message_key == "row" for call in job.calls):
        raise JobError(
            f"message_key: row cannot tell apart two files that are both called {repeated[0]}",
            hint="name their common folder, or a pattern above it, as the path",
        )


def nothing_in(files: Sequence[SourceFile], job: Job) -> SourceError:
    """The error for a source whose own files, `files`, are all empty."""
    name, path = ("the standard input", "") if files[0].name == STANDARD_INPUT else (files[0].name, files[0].path)
    if len(files) > 1:
        return SourceError(f"{name} is empty, as is every file of the source", name=name, path=path)
    return SourceError(f"{name} is empty{format_of(job, files[0].path).emptiness(job)}", name=name, path=path)


def base_folder(job: Job) -> Path:
    """The folder that relative paths of the job are relative to."""
    return Path(job.path).parent if job.path else Path.cwd()


def local_path(job: Job, written: str) -> Path:
    """An absolute path for one written in the job file; raises JobError where it names a home that is none."""
    try:
        return Path(os.path.normpath(base_folder(job) / Path(written).expanduser()))
    except RuntimeError as error:
        raise JobError(f"source.path: {written}: there is no such home", hint="write the whole path") from error


def database_path(job: Job) -> Path:
    """The file of `source.database`, which is sqlite:///relative, sqlite:////absolute or a bare path.

    Raises:
        JobError: another kind of database.
    """
    url = url_of(job)
    scheme, separator, rest = url.partition("://")
    if not separator:
        return local_path(job, url)
    if scheme not in DATABASES or urlsplit(url).netloc:
        raise JobError(
            f"source.database: {scheme}:// is not read yet; sqlite:///file.db is",
            hint="sqlite:///shop.db is a file beside the job file, sqlite:////data/shop.db one by its full path",
        )
    return local_path(job, rest.removeprefix("/"))


def _database_files(job: Job) -> list[Entry]:
    path = database_path(job)
    return [(path, path.name, path.name)]


def _named_files(job: Job, folder: Path | None, watch: Watch) -> list[Entry | SourceFile]:
    """Every file of `source.path`."""
    if not job.source.path:
        raise JobError("source: neither `path` nor `database` is given")
    found: dict[Path, Entry] = {}
    objects: dict[str, SourceFile] = {}
    for written in job.source.path:
        if is_remote(written):
            if "version" in FORMATS[job.source.format or "csv"].takes:
                raise JobError(
                    f"source.path: tables of {job.source.format} are read of this machine only",
                    hint="copy it here first",
                )
            for entry in with_listed_objects(found_objects(written, watch), partial(found_objects, watch=watch)):
                for file in object_members(job, entry):
                    objects.setdefault(file.path, file)
            continue
        entries = [_standard_input(folder, watch)] if written == STANDARD_INPUT else _expand(job, written)
        for one in with_listed_files(entries):
            found.setdefault(one[0], one)
    _refuse_same(list(found.values()))
    ordered = sorted(found.values(), key=lambda entry: (os.fsencode(entry[2]), os.fsencode(entry[0])))
    return sorted([*with_members(job, ordered), *objects.values()], key=_order)


def _order(entry: Entry | SourceFile) -> tuple[bytes, bytes]:
    path, key = (entry.path, entry.key) if isinstance(entry, SourceFile) else (entry[0], entry[2])
    return os.fsencode(key), os.fsencode(path)


def _refuse_same(entries: Sequence[Entry]) -> None:
    """Raise SourceError where two of the names lead to one file: its rows would be sent twice."""
    seen: dict[tuple[int, int], tuple[Path, str]] = {}
    for path, name, _ in entries if len(entries) > 1 else ():
        try:
            status = path.stat()
        except OSError:
            continue  # told where the file is opened
        if not stat.S_ISREG(status.st_mode) or not status.st_ino:
            continue
        other, other_name = seen.setdefault((status.st_dev, status.st_ino), (path, name))
        if other is not path:
            how = "a link" if os.path.realpath(path) == os.path.realpath(other) else "a hard link"
            raise SourceError(
                f"{other_name} and {name} are one file, by {how}: its rows would be sent twice",
                hint="remove one of the two names, or write a path that does not match both",
            )


def _expand(job: Job, written: str) -> list[Entry]:
    """The files of one path as written: a file, a folder, or a pattern."""
    whole = local_path(job, written)
    table = format_named(job.source.format).data_files(job, whole) if job.source.format else None
    if table is not None:
        below = whole if whole.is_dir() else whole.parent
        if not table:
            raise SourceError(f"no file is of the table {written}: it is empty")
        return [(path, _shown(job, path), str(path.relative_to(below))) for path in table]
    found = FileFinder(partial(_shown, job)).files(whole)
    if not found:
        raise SourceError(f"no file matches {written}", hint=f"looked in {whole.parent}", name=written, path=str(whole))
    _refuse_tables({path.parent for path, _ in found})
    return [(path, _shown(job, path), key) for path, key in found]


def _refuse_tables(folders: set[Path]) -> None:
    """Raise JobError where files belong to a table: which of them are the table's rows, its log alone tells."""
    for folder in sorted({above for one in folders for above in (one, *one.parents)}):
        for name, pattern in TABLE_LOGS.items():
            if next(folder.glob(pattern), None) is not None:
                raise JobError(
                    f"source.path: {folder.name} is a table of {name.capitalize()}: its log tells which files it has",
                    hint=f"name the folder {folder.name}, and say `format: {name}`",
                )


def _shown(job: Job, path: Path) -> str:
    """The path as problems show it: from the job file's folder where it is near, else whole."""
    text, base = str(path), f"{base_folder(job)}/"
    # A piece of the text is had ten times as fast, and there may be ten thousand.
    relative = text[len(base) :] if text.startswith(base) else os.path.relpath(text, base)
    return printable(text if relative.startswith(_FAR) else relative)


def _standard_input(folder: Path | None, watch: Watch) -> Entry:
    """The standard input, copied to the folder: it cannot be read twice."""
    if folder is None:
        raise JobError("source.path: the standard input can be read only by a command that keeps a copy of it")
    return (keep_standard_input(folder, watch), STANDARD_INPUT, STANDARD_INPUT)


def _source_file(job: Job, known: Mapping[Stamp, str] | None, watch: Watch, entry: Entry | SourceFile) -> SourceFile:
    """One file with its hash, read only where its stamp is not known; without hash where nothing can be known."""
    if isinstance(entry, SourceFile):
        return _read_object(job, known, watch, entry)
    path, name, key = entry
    holder = Path(container(str(path)))
    try:
        status = holder.stat()
    except FileNotFoundError as error:
        raise (leads_nowhere(name) if path.is_symlink() else cannot_be_read(name, error, str(path))) from None
    except OSError as error:
        raise cannot_be_read(name, error, str(path)) from error
    refuse_unusual(path, name, status.st_mode)
    size = status.st_size if holder == path else size_of_member(path, holder, name)
    stamp = stamp_of(path, status, size)
    sha256 = known.get(stamp, "") if known is not None else ""
    if not sha256:
        origin = origin_at(str(path), "the standard input" if key == STANDARD_INPUT else name)
        _refuse_foreign(job, origin, key)
        sha256 = "" if known is None else digest(origin, watch)
    return SourceFile(
        path=str(path), name=name, key=key, bytes=size, sha256=sha256,
        mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns, inode=status.st_ino,
    )  # fmt: skip


def _read_object(job: Job, known: Mapping[Stamp, str] | None, watch: Watch, file: SourceFile) -> SourceFile:
    """An object with the hash of its copy, as `_source_file` does."""
    sha256 = known.get(stamp_of_file(file), "") if known is not None else ""
    if not sha256:
        _refuse_foreign(job, origin_of(file), file.key)
        sha256 = "" if known is None else digest(origin_of(file), watch)
    return replace(file, sha256=sha256)


def _refuse_foreign(job: Job, origin: Origin, key: str) -> None:
    """Raise SourceError where the file is not what its format says; one that is not known is refused elsewhere."""
    further = key.startswith(_FURTHER)
    try:
        expected = format_by_suffix(Path(origin.path)) if further else format_of(job, origin.path)
    except JobError:
        return
    refuse_foreign(origin, expected)
