"""What a run says about itself: summaries, samples of problems, tables of runs, exports of rejects."""

from backfill.report.doubts import doubts_kept_back
from backfill.report.lines import of_query, with_line_column, with_lines, with_query
from backfill.report.preview import preview_text
from backfill.report.rejects import FORMATS, export_rejects, rejects_frame, rejects_table
from backfill.report.runs import Standing, read_standing, run_summary, runs_table, standing_json, standing_text
from backfill.report.samples import problem_line, sample_lines
from backfill.report.summary import Subject, Summary, by_code, duration_text, failure_json, summary_text
from backfill.report.whereabouts import whereabouts_json, whereabouts_text

__all__ = [
    "FORMATS",
    "Standing",
    "Subject",
    "Summary",
    "by_code",
    "doubts_kept_back",
    "duration_text",
    "export_rejects",
    "failure_json",
    "of_query",
    "preview_text",
    "problem_line",
    "read_standing",
    "rejects_frame",
    "rejects_table",
    "run_summary",
    "runs_table",
    "sample_lines",
    "standing_json",
    "standing_text",
    "summary_text",
    "whereabouts_json",
    "whereabouts_text",
    "with_line_column",
    "with_lines",
    "with_query",
]
