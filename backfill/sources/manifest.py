"""The manifest that Redshift's UNLOAD writes: a JSON object that lists the files of an unload.

It has the name prefix of the others and the word `manifest`; each entry has the URL that its file had in the bucket,
and often how many bytes that is (https://docs.aws.amazon.com/redshift/latest/dg/r_UNLOAD.html). Of a manifest of this
machine the files lie beside it; one in a bucket is followed by its URLs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from backfill.errors import SourceError
from backfill.records import SourceFile
from backfill.sources.origins.content import origin_of

#: (path, name, key) of a file of a source.
_Found = tuple[Path, str, str]
_WORD = "manifest"
#: A larger file is none: ten thousand entries take two megabytes.
_LARGEST = 64 * 2**20


def with_listed_files(found: Iterable[_Found]) -> Iterator[_Found]:
    """The files of a source, a manifest among them replaced by the files that it lists.

    Raises:
        SourceError: a listed file is not beside it, or has another size than it says.
    """
    for entry in found:
        listed = _entries(entry[0]) if entry[0].name.endswith(_WORD) else None
        if listed is None:
            yield entry
        else:
            for one in listed:
                yield _beside(entry, one)


def with_listed_objects(found: Iterable[SourceFile], find: Callable[[str], list[SourceFile]]) -> Iterator[SourceFile]:
    """The same of objects of a bucket, whose URLs are what a manifest lists; raises what `find` does, too."""
    for file in found:
        listed = None
        if file.path.endswith(_WORD) and file.bytes <= _LARGEST:
            with origin_of(file).open() as stream:
                listed = _parsed(stream.read())
        if listed is None:
            yield file
            continue
        folder = file.path.rpartition("/")[0] + "/"
        above = file.key[: -len(file.path.rpartition("/")[2])]
        for one in listed:
            (part,) = find(one["url"])
            _compare_size(part.name, part.bytes, file.name, one)
            below = part.path.removeprefix(folder) if part.path.startswith(folder) else part.key
            yield replace(part, key=above + below)


def _entries(path: Path) -> list[dict[str, Any]] | None:
    """The entries of a manifest; None for a file that is none, which is read or refused as any other."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        return _parsed(path.read_bytes())
    except OSError:
        return None


def _parsed(content: bytes) -> list[dict[str, Any]] | None:
    try:
        data = json.loads(content)
    except ValueError:
        return None
    entries = data.get("entries") if isinstance(data, dict) else None
    listed = isinstance(entries, list) and all(
        isinstance(one, dict) and isinstance(one.get("url"), str) for one in entries
    )
    return entries if listed and entries else None


def _beside(manifest: _Found, entry: dict[str, Any]) -> _Found:
    """The file of an entry: what is longest of its URL's end and is there, from the manifest's folder on."""
    path, name, key = manifest
    parts = PurePosixPath(entry["url"].partition("://")[2]).parts[1:]
    ways = ["/".join(parts[start:]) for start in range(len(parts))]
    way = next((way for way in ways if (path.parent / way).is_file()), None)
    if way is None:
        raise SourceError(
            f"{name} lists {parts[-1] if parts else entry['url']}, which is not beside it",
            hint="fetch all files of the unload into one folder",
        )
    found = path.parent / way
    _compare_size(found.name, found.stat().st_size, name, entry)
    return found, name[: -len(path.name)] + way, key[: -len(path.name)] + way


def _compare_size(found: str, size: int, manifest: str, entry: dict[str, Any]) -> None:
    meta = entry.get("meta")
    stated = meta.get("content_length") if isinstance(meta, dict) else None
    if isinstance(stated, int) and stated != size:
        raise SourceError(
            f"{found} has {size:,} bytes, of which {manifest} says {stated:,}",
            hint="fetch or unload the files again; nothing was sent",
        )
