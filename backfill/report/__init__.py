"""What a run says about itself: summaries, samples of problems, tables of runs, exports of rejects.

A name is imported when it is asked for: `status` loads no polars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.lazy import lazily

if TYPE_CHECKING:
    from backfill.report.contents import read_contents
    from backfill.report.doubts import held_back_lines
    from backfill.report.json_text import preview_text
    from backfill.report.lines import job_of, with_lines, with_places
    from backfill.report.listing import list_rejects, look_up_lines, reject_lines
    from backfill.report.plan_table import plan_table
    from backfill.report.rejects import export_rejects
    from backfill.report.replays import Together, together, together_json, together_text
    from backfill.report.runs import (
        RunView,
        accounts_text,
        read_run_view,
        run_json,
        run_summary,
        run_text,
        runs_table,
    )
    from backfill.report.samples import names_problem, problem_line, sample_lines
    from backfill.report.summary import (
        Subject,
        Summary,
        by_code,
        duration_text,
        failure_json,
        not_read_text,
        summary_text,
        total_text,
    )
    from backfill.report.whereabouts import whereabouts_json, whereabouts_text

__all__ = [
    "RunView",
    "Subject",
    "Summary",
    "Together",
    "accounts_text",
    "by_code",
    "duration_text",
    "export_rejects",
    "failure_json",
    "held_back_lines",
    "job_of",
    "list_rejects",
    "look_up_lines",
    "names_problem",
    "not_read_text",
    "plan_table",
    "preview_text",
    "problem_line",
    "read_contents",
    "read_run_view",
    "reject_lines",
    "run_json",
    "run_summary",
    "run_text",
    "runs_table",
    "sample_lines",
    "summary_text",
    "together",
    "together_json",
    "together_text",
    "total_text",
    "whereabouts_json",
    "whereabouts_text",
    "with_lines",
    "with_places",
]

__getattr__ = lazily(
    __name__,
    {
        "contents": ("read_contents",),
        "doubts": ("held_back_lines",),
        "lines": ("job_of", "with_lines", "with_places"),
        "json_text": ("preview_text",),
        "listing": ("list_rejects", "look_up_lines", "reject_lines"),
        "plan_table": ("plan_table",),
        "rejects": ("export_rejects",),
        "replays": ("Together", "together", "together_json", "together_text"),
        "runs": (
            "RunView",
            "accounts_text",
            "read_run_view",
            "run_summary",
            "runs_table",
            "run_json",
            "run_text",
        ),
        "samples": ("names_problem", "problem_line", "sample_lines"),
        "summary": (
            "Subject",
            "Summary",
            "by_code",
            "duration_text",
            "failure_json",
            "not_read_text",
            "summary_text",
            "total_text",
        ),
        "whereabouts": ("whereabouts_json", "whereabouts_text"),
    },
)
