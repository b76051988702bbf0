"""Exports of known tools, told by their columns; the jobs for them are the recipes that are shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from backfill.frozen import frozen
from backfill.guess.source import Described
from backfill.guess.yaml_text import written
from backfill.job.blanks import BLANK

#: In an installed package the recipes lie beside this; in the repository they are the jobs of jobs/recipes.
_PLACES = (Path(__file__).parent / "recipes", Path(__file__).parents[2] / "jobs" / "recipes")
_JSON = ("ndjson", "json")


@frozen
class Vendor:
    """A tool's export: the columns that all of them have, and the recipe for it."""

    recipe: str
    tool: str
    columns: frozenset[str]
    formats: tuple[str, ...]
    #: A column and a text that is in its values, where the columns' names say too little.
    inside: tuple[str, str] = ("", "")
    #: What of the recipe is a matter of the project: the text that is a blank, and what there is to choose from.
    open: tuple[str, str] = ("", "")


def _columns(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: The first whose columns are all there is the one.
VENDORS = (
    Vendor(
        "rudderstack", "RudderStack", _columns("type messageId rudderId originalTimestamp context"), _JSON
    ),
    Vendor("segment-archive", "Segment", _columns("type messageId originalTimestamp context timestamp"), _JSON),
    Vendor("amplitude", "Amplitude", _columns("event_type event_time event_properties device_id uuid"), _JSON),
    Vendor(
        "ga4", "GA4", _columns("event_name event_timestamp event_params user_pseudo_id event_bundle_sequence_id"), _JSON
    ),
    Vendor("posthog", "PostHog", _columns("uuid event distinct_id properties timestamp"), _JSON),
    Vendor("mixpanel", "Mixpanel", _columns("event properties"), _JSON, ("properties", '"distinct_id"'),
        ("America/Los_Angeles", "the project's zone: UTC for those since 2023, else as the project's settings say")),
)  # fmt: skip


def vendor_of(frame: pl.DataFrame, format_name: str) -> Vendor | None:
    """Whose export has those columns, in that format."""
    names = set(frame.columns)
    fitting = (one for one in VENDORS if format_name in one.formats and one.columns <= names)
    return next((one for one in fitting if _holds(frame, *one.inside)), None)


def _holds(frame: pl.DataFrame, column: str, text: str) -> bool:
    return not column or bool(frame[column].str.contains(text, literal=True).any())


def recipe(vendor: Vendor, source: Described) -> str:
    """The text of the vendor's recipe, over that source, without its first lines of comment."""
    folder = next(place for place in _PLACES if place.is_dir())
    lines = (folder / f"{vendor.recipe}.yaml").read_text("utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("version:"))
    return "\n".join(_settled(lines[start:], vendor, source)) + "\n"


def _settled(lines: list[str], vendor: Vendor, source: Described) -> Iterator[str]:
    text, choices = vendor.open
    for line in lines:
        if line.startswith("  path:"):
            yield f"  path: {written(source.fields['path'])}"
            if "format" in source.fields:
                yield f"  format: {source.fields['format']}"
        elif line.startswith("  members:"):
            yield from [f"  members: {written(source.fields['members'])}"] if "members" in source.fields else []
        elif line.startswith("  format:"):
            continue
        elif text and text in line and not line.lstrip().startswith("#"):
            yield f"{line.replace(text, BLANK)}  # {choices}"
        else:
            yield line
