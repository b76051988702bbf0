"""The command line: dry runs, and sources that are read once: standard input."""

from __future__ import annotations

import json

from tests.support.projects import Project, backfill
from tests.support.summaries import identities_hold


def test_dry_run_sends_and_promises_nothing(project: Project) -> None:
    """A dry run gives the run's counts, leaves nothing to resume, and says whose ids it made."""
    job = project.people(120, bad=[5])
    dry = backfill("dry-run", job, "--output", "json")
    assert dry.code == 3
    assert dry.object["state"] == "dry run"
    assert dry.object["calls"]["pending"] == 119
    assert dry.object["requests"] == 0
    assert identities_hold(dry.object)
    assert "sandbox" in dry.err
    assert backfill("resume", "--state-dir", project.state).code == 2
    run = backfill("run", job, "--target", "sandbox", "--output", "json").object
    assert run["calls"]["delivered"] == 119
    assert run["bytes"]["json"] == dry.object["bytes"]["json"]


def test_dry_run_limit(project: Project) -> None:
    """--limit judges the first rows only, and counts as if there were no others."""
    result = backfill("dry-run", project.people(120, bad=[5, 50]), "--limit", "10", "--output", "json")
    assert result.object["rows"] == {"read": 10, "filtered": 0, "unreadable": 0, "mapped": 10}
    assert result.object["calls"]["rejected"] == 1
    assert identities_hold(result.object)


def test_dry_run_limit_counts_unreadable_rows(project: Project) -> None:
    """Unreadable rows count where they stand before the last of the first N; `where` leaves out without counting."""
    job = project.people(40)
    source = project.folder / "people.csv"
    lines = source.read_text(encoding="utf-8").splitlines()
    lines[3:3], lines[30:30] = ["too,few"], ["too,few"]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    job.write_text(job.read_text(encoding="utf-8").replace("calls:", "where: age <> 1\ncalls:"), encoding="utf-8")
    first = backfill("dry-run", job, "--limit", "10", "--output", "json").object
    assert first["rows"] == {"read": 11, "filtered": 0, "unreadable": 1, "mapped": 10}
    assert first["problems"] == {"BF001": 1}
    whole = backfill("dry-run", job, "--limit", "100", "--output", "json").object
    assert whole["rows"] == {"read": 42, "filtered": 1, "unreadable": 2, "mapped": 39}


def test_dry_run_limit_of_all_readable_rows(project: Project) -> None:
    """What is unreadable behind the last of the first N does not count, where these are all that can be read, too."""
    job = project.people(10)
    with (project.folder / "people.csv").open("a", encoding="utf-8") as source:
        source.write("too,few\ntoo,few\n")
    first = backfill("dry-run", job, "--limit", "10", "--output", "json").object
    assert first["rows"] == {"read": 10, "filtered": 0, "unreadable": 0, "mapped": 10}
    more = backfill("dry-run", job, "--limit", "11", "--output", "json").object
    assert more["rows"] == {"read": 12, "filtered": 0, "unreadable": 2, "mapped": 10}


def test_dry_run_limit_reads_no_more_than_it_takes(project: Project) -> None:
    """The first rows are staged alone, which is said, and never taken for the source by a run or another dry run."""
    job = project.people(3000, bad=[5])
    first = backfill("dry-run", job, "--limit", "10", "--output", "json")
    assert first.object["rows"]["read"] == 10
    assert "Of the source 11 records were read, for --limit." in first.err
    assert not list(project.state.glob("dry-runs/runs/*/first-rows"))
    assert not list(project.state.glob("dry-runs/runs/*/snapshot"))
    assert "record 6" in backfill("rejects", job, "--dry-run").out
    assert backfill("dry-run", job, "--output", "json").object["rows"]["read"] == 3000
    again = backfill("dry-run", job, "--limit", "10", "--output", "json")
    assert again.object == first.object | {"seconds": again.object["seconds"]}
    assert "These are the first rows of what the last dry run has staged." in again.err
    assert list(project.state.glob("dry-runs/runs/*/snapshot"))


def test_a_run_after_a_limited_dry_run_reads_all(project: Project) -> None:
    """What was staged for --limit is not the source."""
    job = project.people(3000)
    backfill("dry-run", job, "--limit", "10")
    run = backfill("run", job, "--target", "sandbox", "--output", "json").object
    assert run["calls"]["delivered"] == 3000


def test_dry_run_limit_of_a_query(project: Project) -> None:
    """A query over files may order, join and sum: it gets all rows, and that is said."""
    job = project.people(50)
    query = "\n  query: SELECT * FROM source ORDER BY id DESC"
    job.write_text(job.read_text(encoding="utf-8").replace("path: people.csv", "path: people.csv" + query))
    first = backfill("dry-run", job, "--limit", "10", "--output", "json")
    assert first.object["rows"]["mapped"] == 10
    assert "The source is read whole, --limit or not: its query may need all of it." in first.err


def test_check_of_standard_input(project: Project) -> None:
    """What standard input holds is not known to `check`, which says so."""
    job = project.people(1)
    job.write_text(job.read_text(encoding="utf-8").replace("path: people.csv", "path: '-'\n  format: csv"))
    assert "no column, SQL or row was judged, as they come from standard input" in backfill("check", job).out


def test_standard_input(project: Project) -> None:
    """A source of `-` is read once, and compared at the next run: equal bytes send nothing, others are told."""
    job = project.people(300)
    job.write_text(
        job.read_text(encoding="utf-8").replace("path: people.csv", 'path: "-"\n  format: csv'), encoding="utf-8"
    )
    source = project.folder / "people.csv"
    words = ["run", job, "--target", "sandbox", "--output", "json"]

    def piped() -> dict[str, object]:
        with source.open("rb") as file:
            process = project.process(*words, stdin=file)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        found: dict[str, object] = json.loads(out)
        return found

    assert piped()["calls"]["delivered"] == 300  # type: ignore[index]
    assert piped()["requests"] == 0
    project.rows(301)
    assert piped()["calls"]["delivered"] == 301  # type: ignore[index]
    assert not [path for path in project.state.rglob("stdin") if path.is_file()]


def test_dry_run_of_a_folder(project: Project) -> None:
    """A folder and several jobs are rehearsed one after the other, with their sum; as JSON an object each."""
    for name in ("one", "two"):
        project.people(20, bad=[3], name=name)
    text = backfill("dry-run", project.folder)
    assert text.code == 3
    assert text.out.count("DRY RUN") == 2
    assert "TOTAL of 2 jobs\n  rows      40 read, 40 mapped\n  calls     40 planned, 2 rejected, 38 pending" in text.out
    assert text.err.count("Message ids are those of the sandbox") == 1
    objects = backfill("dry-run", project.folder, "--output", "json").objects
    assert [one["job"] for one in objects] == ["one", "two"]


def test_total_of_several_runs(project: Project) -> None:
    """Runs of several jobs end with their sum; a job that could not be run is not hidden by it."""
    for name in ("one", "two"):
        project.people(20, name=name)
    (project.folder / "two.csv").unlink()
    result = backfill("run", project.folder, "--target", "sandbox")
    assert result.code == 9
    assert "TOTAL of 1 of 2 jobs\n  rows      20 read, 20 mapped\n  calls     20 planned, 20 pending" in result.out
    assert "TOTAL" not in backfill("run", project.folder / "one.yaml", "--target", "sandbox").out
