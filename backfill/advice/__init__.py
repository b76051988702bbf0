"""What the destinations that a job turns on do with history: facts with sources, and the block that avoids each.

A name is imported when it is asked for: the pages of `explain` load no job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.lazy import lazily

if TYPE_CHECKING:
    from backfill.advice.facts import Destination, Fact, Way, destinations, fact_text, source_text
    from backfill.advice.matching import Advice, UndoNote, advise, in_job, in_plan, undo_notes
    from backfill.advice.names import meant_name

__all__ = [
    "Advice",
    "Destination",
    "Fact",
    "UndoNote",
    "Way",
    "advise",
    "destinations",
    "fact_text",
    "in_job",
    "in_plan",
    "meant_name",
    "source_text",
    "undo_notes",
]

__getattr__ = lazily(
    __name__,
    {
        "matching": ("Advice", "UndoNote", "advise", "in_job", "in_plan", "undo_notes"),
        "facts": ("Destination", "Fact", "Way", "destinations", "fact_text", "source_text"),
        "names": ("meant_name",),
    },
)
