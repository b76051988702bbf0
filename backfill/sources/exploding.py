"""What is left of exploded rows once all are written: the elements that `where` keeps; every other row is counted.

A row without elements counts as filtered, one whose value is no list is unreadable (BF008), and so is one whose JSON
has a number that would be rounded (BF133). So `read` counts rows after the explosion, each row without elements as one.
"""

from __future__ import annotations

from dataclasses import replace

from backfill.records import Snapshot
from backfill.sources.bad_rows import Bad, save_unreadable
from backfill.sources.sql.engine import literal, own_parquet
from backfill.sources.sql.explode import ELEMENT, FLAG, NO_LIST, ROUNDED, VALUE
from backfill.sources.sql.layout import KEEP, Layout
from backfill.sources.staging import Staging

_WHY = {
    NO_LIST: ("BF008", "{name} holds no list"),
    ROUNDED: ("BF133", "a number with more digits than SQL keeps, in the list that is exploded"),
}


def keep_elements(staging: Staging, rows: Snapshot, layout: Layout) -> Snapshot:
    """The snapshot of exploded rows with the elements alone; its part is written again."""
    (part,) = rows.parts
    name = staging.job.explode or ""
    bad = [
        Bad(f"{FLAG} = {flag}", code, name, VALUE, literal(why.format(name=name))) for flag, (code, why) in _WHY.items()
    ]
    left_out = save_unreadable(staging, rows, bad) - rows.unreadable
    asked = f" AND {KEEP}" if layout.keep is not None else ""
    dropped = [FLAG, VALUE, *([KEEP] if layout.keep is not None else [])]
    target = part.path.with_suffix(".elements")
    kept = staging.copy_counted(
        f"SELECT * EXCLUDE ({', '.join(dropped)}) FROM {own_parquet([part.path])} WHERE {FLAG} = {ELEMENT}{asked}",
        target,
    )
    target.replace(part.path)
    return replace(
        rows,
        parts=(replace(part, rows=kept),),
        filtered=part.rows - kept - left_out,
        unreadable=rows.unreadable + left_out,
        unreadable_file=staging.unreadable_file if rows.unreadable + left_out else None,
    )
