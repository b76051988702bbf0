"""The manifest of a DynamoDB export: which data files it has, their MD5, and how many items are in each."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from backfill.errors import SourceError
from backfill.frozen import frozen
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, origin_of, plain_pieces, stored_pieces

#: Files of an export that tell about it.
ABOUT = re.compile(r"(?:^|/)(?:manifest-(?:summary|files)\.(?:json|md5)|_started)$")
_FILES, _SUMMARY = "manifest-files.json", "manifest-summary.json"


@frozen
class Listed:
    """What a manifest says of a data file."""

    items: int
    md5: str


def ion_error(name: str) -> SourceError:
    """The error for an export in the other format."""
    return SourceError(f"{name} is of an export in Amazon Ion", hint="export the table in the format DynamoDB JSON")


def manifest_of(files: Sequence[SourceFile]) -> dict[str, Listed]:
    """What the manifests among the files say of the data files, by their paths; nothing where there is none.

    Raises:
        SourceError: a listed file is missing, there is one that is not listed, or the export is in Ion.
    """
    listed: dict[str, Listed] = {}
    manifests = [file for file in files if file.path.endswith(f"/{_FILES}")]
    for file in files:
        if file.path.endswith(f"/{_SUMMARY}") and _json_lines(file)[0].get("outputFormat") == "ION":
            raise ion_error(file.name)
    paths = {file.path for file in files}
    for manifest in manifests:
        folder = manifest.path.removesuffix(_FILES)
        for entry in _json_lines(manifest):
            try:
                path = f"{folder}data/{entry['dataFileS3Key'].rpartition('/')[2]}"
                listed[path] = Listed(int(entry["itemCount"]), str(entry["md5Checksum"]))
            except (KeyError, AttributeError, ValueError) as error:
                raise SourceError(f"{manifest.name} is no manifest of a DynamoDB export") from error
            if path not in paths:
                raise SourceError(
                    f"{manifest.name} lists {path.removeprefix(folder)}, which is not there",
                    hint="fetch the whole folder of the export, and name it as `path`",
                )
    further = [file.name for file in files if manifests and file.path not in listed and not ABOUT.search(file.path)]
    if further:
        raise SourceError(f"{further[0]} is not in the manifest of the export", hint="name the export's folder alone")
    if files and not listed and all(ABOUT.search(file.path) for file in files):
        raise SourceError(f"{files[0].name} holds no items", hint="name the export's folder, in which it lies")
    return listed


def _json_lines(file: SourceFile) -> list[dict[str, Any]]:
    """The objects of a manifest, one a line."""
    try:
        found = [json.loads(line) for line in b"".join(plain_pieces(origin_of(file))).splitlines() if line.strip()]
    except ValueError as error:
        raise SourceError(f"{file.name} is damaged: it is not one JSON object a line") from error
    if not found or not all(isinstance(one, dict) for one in found):
        raise SourceError(f"{file.name} is damaged: it holds no JSON objects")
    return found


def check_md5(file: SourceFile, wanted: str, watch: Watch) -> None:
    """Raise SourceError where the stored bytes of a file are not those of its manifest."""
    found = hashlib.md5(usedforsecurity=False)
    for piece in stored_pieces(origin_of(file), watch):
        found.update(piece)
    if base64.b64encode(found.digest()).decode() != wanted:
        raise SourceError(f"{file.name} is not what its manifest says: another MD5", hint="fetch it again")
