"""Which members of archives are files of a source.

Rules
1) With `members`, every file of the source is an archive, and of each at least one member matches.
2) Without it, an archive is what is called so (.zip, .tar, .tar.gz, .tgz ...), or has a name that says nothing and
   begins as one. The one data file in it is taken; of several the job has to say which.
3) A pattern without a slash is one for the member's own name, in whatever folder; one with slashes is for the whole
   path, `**` standing for any number of folders. Hidden names only by a pattern that begins with a dot.
4) A tar of `pg_dump -Ft` is one file to that format: pg_restore reads it whole.
5) Folders are no members, nor is what macOS adds: `__MACOSX/`, and `._x` beside each `x`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from backfill.errors import JobError, SourceError
from backfill.job.formats import SUFFIXES, suffix_within
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.foreign import ARCHIVES
from backfill.sources.origins.archives import Archive, archive_at
from backfill.sources.origins.compression import Damage, packing_of
from backfill.sources.origins.content import HEAD_BYTES, cannot_be_read, damaged
from backfill.sources.origins.fetched import OBJECT_COPIES
from backfill.sources.origins.objects import member_of
from backfill.sources.origins.standard_input import STANDARD_INPUT

#: (path, name, key) of a file of a source.
_Found = tuple[Path, str, str]
#: Members named in an error.
_NAMED = 5
_ANY_DEPTH = "**"
#: What pg_dump always has in a tar.
_DUMP_PARTS = {"toc.dat", "restore.sql"}
_UNPACK = "unpack it, and name that file: pg_restore reads the tar itself"


def with_members(job: Job, found: Iterable[_Found]) -> Iterator[_Found]:
    """The files of a source, its archives replaced by the members that are meant, those in order of their names.

    Raises:
        SourceError: an archive is damaged, holds nothing that matches, or is none where `members` says so.
        JobError: the job has to say which of an archive's members are meant.
    """
    for path, name, key in found:
        archive = _archive(job, path, name) if job.source.members or _may_be_archive(path, key) else None
        if archive is None or _is_dump(job, archive, path, name):
            yield path, name, key
            continue
        for member in _chosen(job, archive, name):
            yield Path(f"{path}/{member}"), f"{name}/{member}", f"{key}/{member}"


def object_members(job: Job, file: SourceFile) -> Iterator[SourceFile]:
    """The same of an object of a bucket, which is fetched whole where it is called an archive; raises likewise."""
    is_archive = bool(job.source.members) or suffix_within(PurePosixPath(file.path)) in ARCHIVES
    place = OBJECT_COPIES.of(file).local_path() if is_archive else None
    archive = _archive(job, place, file.name) if place else None
    if place is None or archive is None or _is_dump(job, archive, place, file.name):
        yield file
        return
    for member in _chosen(job, archive, file.name):
        yield member_of(file, member, archive.entries[member].size)


def _chosen(job: Job, archive: Archive, name: str) -> list[str]:
    """The members that are meant, in order of their names."""
    chosen = _matching(job, archive, name) if job.source.members else [_only_one(job, archive, name)]
    return sorted(chosen, key=os.fsencode)


def size_of_member(path: Path, holder: Path, name: str) -> int:
    """The plain bytes of a member of an archive, as its directory says.

    Raises:
        SourceError: there is no such member, or the file above is no archive, or damaged.
    """
    archive = _opened(holder, name)
    member = str(path)[len(str(holder)) + 1 :]
    if archive is None or member not in archive.entries:
        what = _listed(list(archive.entries)) if archive else f"{holder.name} is neither a zip nor a tar archive"
        raise SourceError(f"{name} does not exist", hint=what)
    return archive.entries[member].size


def _may_be_archive(path: Path, key: str) -> bool:
    """By its name, or because that says nothing."""
    return key == STANDARD_INPUT or suffix_within(path) not in SUFFIXES


def _is_dump(job: Job, archive: Archive, path: Path, name: str) -> bool:
    """Whether an archive is a dump, where one is expected.

    Raises:
        SourceError: it is one that is compressed, which pg_restore does not read.
    """
    if job.source.members or job.source.format != "pg_dump" or not archive.entries.keys() >= _DUMP_PARTS:
        return False
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if packing_of(head) is not None:
        raise SourceError(f"{name} is a tar archive of pg_dump, compressed as a whole", hint=_UNPACK)
    return True


def _archive(job: Job, path: Path, name: str) -> Archive | None:
    """The archive in a file; None where there is none and none is asked for."""
    name = "the standard input" if name == STANDARD_INPUT else name
    archive = _opened(path, name)
    if archive is None and job.source.members:
        raise SourceError(
            f"{name} is neither a zip nor a tar archive, so that it has no members",
            hint="leave `members` out, or let the path match archives only",
        )
    return archive


def _opened(path: Path, name: str) -> Archive | None:
    try:
        return archive_at(path)
    except FileNotFoundError:
        return None  # told where it is opened, as whatever else is no file
    except OSError as error:
        raise cannot_be_read(name, error) from error
    except Damage as error:
        raise damaged(name, error) from error


def _matching(job: Job, archive: Archive, name: str) -> list[str]:
    patterns = job.source.members
    chosen = [member for member in archive.entries if any(_matches(member, one) for one in patterns)]
    if not chosen:
        raise SourceError(f"no member of {name} matches {' or '.join(patterns)}", hint=_listed(list(archive.entries)))
    return chosen


def _only_one(job: Job, archive: Archive, name: str) -> str:
    members = [member for member in archive.entries if _matches(member, "*")]
    fitting = [member for member in members if _fits(job, member)]
    if len(fitting) != 1 and not (len(members) == 1 and job.source.format is not None):
        what = "several" if len(fitting) > 1 else "none"
        raise JobError(
            f"source.members: {name} is an archive, of whose files {what} may be meant",
            hint=f'say which, for example `members: "*.csv"`; {_listed(members)}',
        )
    return (fitting or members)[0]


def _fits(job: Job, member: str) -> bool:
    """Its suffix is of the stated format, or of any where none is stated."""
    found = SUFFIXES.get(suffix_within(PurePosixPath(member)))
    return found is not None and job.source.format in (None, found)


def _listed(members: Sequence[str]) -> str:
    """Some of them, as a phrase."""
    if not members:
        return "it holds nothing"
    rest = len(members) - _NAMED
    return f"it holds {', '.join(sorted(members)[:_NAMED])}" + (f" and {rest:,} more" if rest > 0 else "")


def _matches(member: str, pattern: str) -> bool:
    parts = member.split("/")
    hidden = any(part.startswith(".") for part in parts)
    if parts[0] == "__MACOSX" or parts[-1].startswith("._"):
        return False
    wanted = pattern.split("/")
    if hidden and not any(part.startswith(".") for part in wanted):
        return False
    return member == pattern or _parts_match(parts[-1:] if len(wanted) == 1 else parts, wanted)


def _parts_match(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    if not wanted or not parts:
        return not parts and not wanted
    if wanted[0] == _ANY_DEPTH:
        rest = wanted[1:] or ["*"]
        return any(_parts_match(parts[start:], rest) for start in range(len(parts)))
    return fnmatchcase(parts[0], wanted[0]) and _parts_match(parts[1:], wanted[1:])
