"""What a run says about itself: summaries, samples of problems, tables of runs, exports of rejects.

A name is imported when it is asked for: `status` loads no polars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.lazy import lazily

if TYPE_CHECKING:
    from backfill.report.doubts import doubts_kept_back
    from backfill.report.lines import with_lines, with_places
    from backfill.report.listing import list_rejects, look_up_lines, reject_lines
    from backfill.report.preview import preview_text
    from backfill.report.rejects import export_rejects
    from backfill.report.runs import (
        Standing,
        accounts_text,
        read_standing,
        run_summary,
        runs_table,
        standing_json,
        standing_text,
    )
    from backfill.report.samples import problem_line, sample_lines
    from backfill.report.summary import Subject, Summary, by_code, duration_text, failure_json, summary_text, total_text
    from backfill.report.whereabouts import whereabouts_json, whereabouts_text

__all__ = [
    "Standing",
    "Subject",
    "Summary",
    "accounts_text",
    "by_code",
    "doubts_kept_back",
    "duration_text",
    "export_rejects",
    "failure_json",
    "list_rejects",
    "look_up_lines",
    "preview_text",
    "problem_line",
    "read_standing",
    "reject_lines",
    "run_summary",
    "runs_table",
    "sample_lines",
    "standing_json",
    "standing_text",
    "summary_text",
    "total_text",
    "whereabouts_json",
    "whereabouts_text",
    "with_lines",
    "with_places",
]

__getattr__ = lazily(
    __name__,
    {
        "doubts": ("doubts_kept_back",),
        "lines": ("with_lines", "with_places"),
        "preview": ("preview_text",),
        "listing": ("list_rejects", "look_up_lines", "reject_lines"),
        "rejects": ("export_rejects",),
        "runs": (
            "Standing",
            "accounts_text",
            "read_standing",
            "run_summary",
            "runs_table",
            "standing_json",
            "standing_text",
        ),
        "samples": ("problem_line", "sample_lines"),
        "summary": ("Subject", "Summary", "by_code", "duration_text", "failure_json", "summary_text", "total_text"),
        "whereabouts": ("whereabouts_json", "whereabouts_text"),
    },
)
