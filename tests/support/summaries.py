"""The JSON object of `--output json`: its keys, and whether it adds up."""

from __future__ import annotations

KEYS_OF_JSON = [
    "schema_version",
    "run_id",
    "job",
    "target",
    "live",
    "state",
    "rows",
    "calls",
    "batches",
    "requests",
    "retries",
    "bytes",
    "seconds",
    "problems",
    "dates",
    "plan",
    "gates",
]


def identities_hold(summary: dict[str, object]) -> bool:
    """Whether the accounting of a JSON summary adds up, one call a row."""
    rows, calls = summary["rows"], summary["calls"]
    assert isinstance(rows, dict)
    assert isinstance(calls, dict)
    ended = sum(calls[name] for name in calls if name not in ("planned", "skipped"))
    return (
        rows["read"] == rows["filtered"] + rows["unreadable"] + rows["mapped"]
        and rows["mapped"] == calls["planned"] + calls["skipped"]
        and calls["planned"] == ended
    )
