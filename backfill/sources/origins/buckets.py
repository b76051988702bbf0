"""The objects that a URL of the job stands for: an object, a folder of a bucket, or a pattern.

The rules are those of files (listing.py), as far as a bucket has what they speak of: a URL that is an object's is that
object, whatever characters are in it; what is hidden, or in a folder begins with `_`, is left out alike. The marks that
consoles leave in place of folders (no bytes, and the name of a folder) are none of its files. Objects of a table, whose
log is seen where they are listed, are refused: the log alone tells which of them are its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from backfill.buckets.asking import ask, failures
from backfill.buckets.refusals import status_of
from backfill.buckets.stores import obstore, store_of
from backfill.errors import JobError, SourceError
from backfill.job.remote import Remote, remote
from backfill.records import SourceFile
from backfill.sources.origins.listing import ANY_DEPTH, TABLE_LOGS, WILDCARD, left_out
from backfill.sources.origins.objects import object_of, pin_of, source_file

_PAGE = 1_000
#: A HEAD that is refused with one of these says not why, or is not known there.
_SILENT = (301, 400, 401, 403, 405, 501)


def found_objects(url: str, watch: Callable[[int], None]) -> list[SourceFile]:
    """The objects that a URL stands for, unread, each with its key, the path below what is fixed in the URL.

    Raises:
        SourceError: there is none, the store refuses to tell, or a pattern's last part matches a folder.
        JobError: objects belong to a table.
    """
    at = remote(url)
    if at.is_web:
        return [_object(at, at.key.rpartition("/")[2], watch)]
    if at.key and not at.key.endswith("/"):
        patterned = bool(WILDCARD.search(at.key))
        try:
            return [_object(at, at.key.rpartition("/")[2], watch, quiet=patterned)]
        except FileNotFoundError:
            if patterned:
                return _matching(at, url, watch)
    found = _below(at, watch)
    if not found:
        raise SourceError(f"{url} does not exist, and is no folder with files in it", hint="is the key right?")
    return found


def stands(file: SourceFile) -> bool:
    """The object, or the archive that holds it, still is what it was when it was listed."""
    file = object_of(file)
    at = remote(file.path)
    try:
        meta = ask(at, file.name, lambda: obstore().head(store_of(at), at.object_name), lambda _: None)
    except (FileNotFoundError, SourceError):
        return False
    return (pin_of(meta), meta["size"]) == (file.pin, file.bytes)


def _object(at: Remote, key: str, watch: Callable[[int], None], *, quiet: bool = False) -> SourceFile:
    """The object of that very key; raises FileNotFoundError where there is none."""
    url = f"{at.root}{at.key}"

    def head() -> Any:  # noqa: ANN401
        try:
            return obstore().head(store_of(at), at.object_name)
        except failures() as error:  # of which "not found" may be one of these, too
            if status_of(error) not in _SILENT:
                raise
            if quiet:  # without the right to list, S3 says so of what is not there
                raise FileNotFoundError from error
            return obstore().get(store_of(at), at.object_name).meta  # whose refusal says why

    try:
        meta = ask(at, url, head, watch)
    except FileNotFoundError:
        if at.is_web:
            raise SourceError(f"{url} does not exist", hint="is the URL right?") from None
        raise
    return source_file(url, key, meta)


def _listed(at: Remote, prefix: str, watch: Callable[[int], None]) -> Iterator[Any]:
    """What lies below a folder, in pages."""
    pages = iter(obstore().list(store_of(at), prefix or None, chunk_size=_PAGE))

    def following() -> list[Any]:
        return list(next(pages, ()))

    while page := ask(at, f"{at.root}{prefix}", following, watch):
        watch(0)
        yield from page


def _files(at: Remote, prefix: str, watch: Callable[[int], None]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The objects below a folder, each with the parts of its key below it; marks of folders left out."""
    start = len(prefix) + 1 if prefix else 0
    for meta in _listed(at, prefix, watch):
        name = meta["path"].rpartition("/")[2]
        if meta["size"] == 0 and "." not in name:
            continue  # a mark, or a file without any row
        yield meta, tuple(meta["path"][start:].split("/"))


def _below(at: Remote, watch: Callable[[int], None]) -> list[SourceFile]:
    """All files below a folder."""
    prefix, tables, found = at.key.rstrip("/"), dict[str, str](), list[SourceFile]()
    for meta, names in _files(at, prefix, watch):
        _note_table(meta, names, tables)
        if not any(map(left_out, names)):
            found.append(source_file(f"{at.root}{meta['path']}", "/".join(names), meta))
    _refuse_tables(at, tables, found)
    return found


def _note_table(meta: Any, names: tuple[str, ...], tables: dict[str, str]) -> None:  # noqa: ANN401
    """Add the folder of a table whose log an object is a part of: what its URL's objects begin with -> the format."""
    for format_name, pattern in TABLE_LOGS.items():
        if matches(names[-2:], pattern.split("/")):
            tables[meta["path"].removesuffix("/".join(names[-2:]))] = format_name


def _refuse_tables(at: Remote, tables: dict[str, str], found: Sequence[SourceFile]) -> None:
    for folder, format_name in tables.items():
        if any(file.path.startswith(f"{at.root}{folder}") for file in found):
            raise JobError(
                f"source.path: {at.root}{folder} is a table of {format_name.capitalize()}:"
                " its log tells which files it has",
                hint=f"copy it here first, name the folder, and say `format: {format_name}`",
            )


def _matching(at: Remote, url: str, watch: Callable[[int], None]) -> list[SourceFile]:
    """The objects that match a pattern."""
    parts = at.key.split("/")
    place = next(index for index, part in enumerate(parts) if WILDCARD.search(part))
    pattern, tables, found = parts[place:], dict[str, str](), list[SourceFile]()
    for meta, names in _files(at, "/".join(parts[:place]), watch):
        _note_table(meta, names, tables)
        if matches(names, pattern):
            found.append(source_file(f"{at.root}{meta['path']}", "/".join(names), meta))
        elif ANY_DEPTH not in pattern and len(names) > len(pattern) and _means(names, pattern):
            folder = f"{at.root}{'/'.join([*parts[:place], *names[: len(pattern)]])}"
            raise SourceError(
                f"{folder} is a folder, where the pattern means files",
                hint=f"write {folder}/* for the files in it, or a pattern that leaves it out",
            )
    if not found:
        raise SourceError(f"no object matches {url}", hint=f"looked below {at.root}{'/'.join(parts[:place])}")
    _refuse_tables(at, tables, found)
    return found


def _means(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """The pattern matches a folder on the way to an object."""
    folders = names[: len(pattern)]
    return matches(folders, pattern) and not left_out(folders[-1])


def matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """The parts of a key match those of a pattern, as names of files do."""
    if not pattern:
        return not names
    first, rest = pattern[0], pattern[1:]
    if first == ANY_DEPTH:
        deeper = bool(names) and not names[0].startswith(".") and matches(names[1:], pattern)
        return deeper or matches(names, rest or ["[!.]*"])
    if not names or (names[0].startswith(".") and not first.startswith(".")):
        return False
    return fnmatchcase(names[0], first) and matches(names[1:], rest)
