"""The manifest that Redshift's UNLOAD writes: a JSON object that lists the files of an unload.

It has the name prefix of the others and the word `manifest`; each entry has the URL that its file had in the bucket,
and often how many bytes that is (https://docs.aws.amazon.com/redshift/latest/dg/r_UNLOAD.html). Here the files lie
beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from backfill.errors import SourceError

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


def _entries(path: Path) -> list[dict[str, Any]] | None:
    """The entries of a manifest; None for a file that is none, which is read or refused as any other."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
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
    _compare_size(found, name, entry)
    return found, name[: -len(path.name)] + way, key[: -len(path.name)] + way


def _compare_size(found: Path, manifest: str, entry: dict[str, Any]) -> None:
    meta = entry.get("meta")
    stated = meta.get("content_length") if isinstance(meta, dict) else None
    if isinstance(stated, int) and stated != found.stat().st_size:
        raise SourceError(
            f"{found.name} has {found.stat().st_size:,} bytes, of which {manifest} says {stated:,}",
            hint="fetch the file again; nothing was sent",
        )
