"""The command line: its help, the exit codes 0 to 2, and what it refuses before anything is read."""

from __future__ import annotations

from pathlib import Path
from stat import S_IMODE

import click
import pytest

from backfill.cli.group import VERBS
from backfill.cli.group import backfill as cli
from backfill.cli.handler import run_reporting_errors
from backfill.cli.here import Here
from backfill.cli.session import Session
from backfill.state.folder import StateFolder
from tests.support.loading import loaded
from tests.support.projects import Project, backfill
from tests.support.summaries import KEYS_OF_JSON, identities_hold

# ------------------------------------------------------------------------------------------------------------- help


#: Of a terminal that nobody made wider.
COLUMNS = 80


@pytest.mark.parametrize("verb", VERBS)
def test_help_begins_with_an_example(verb: str) -> None:
    """After the usage line every verb's help shows a command that works, then says what it does."""
    result = backfill(verb, "--help")
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= COLUMNS
    usage, first = result.out.split("\n\n", 1)
    assert usage.startswith(f"Usage: backfill {verb}")
    assert first.lstrip().startswith(f"backfill {verb}")


def test_help_lists_every_verb() -> None:
    """`backfill --help` names all verbs and the exit codes."""
    result = backfill("--help")
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= COLUMNS
    assert all(f"  {verb} " in result.out for verb in VERBS)
    assert "130/143" in result.out


@pytest.mark.parametrize("verb", VERBS)
def test_documentation_names_every_option(repository: Path, verb: str) -> None:
    """docs/cli.md names each verb and each option that has a long name; the sandbox has a page of its own."""
    page = "sandbox.md" if verb == "sandbox" else "cli.md"
    text = (repository / "docs" / page).read_text(encoding="utf-8")
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    options = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
    shared = {"--verbose", "--quiet", "--log-format", "--rows"}
    assert f"`{verb}" in text or f"backfill {verb}" in text
    assert [name for name in options if name not in text and name not in shared] == []


# ------------------------------------------------------------------------------------------------------- exit codes


def test_0_everything_delivered(project: Project) -> None:
    """A run of good rows into the embedded sandbox is 0, and its JSON is the promised object."""
    result = backfill("run", project.people(500), "--target", "sandbox", "--output", "json")
    assert result.code == 0, result.err
    summary = result.object
    assert list(summary) == KEYS_OF_JSON
    assert summary["state"] == "finished"
    assert summary["calls"]["delivered"] == summary["rows"]["read"] == 500
    assert summary["live"] is False
    assert summary["requests"] >= 2
    assert identities_hold(summary)


def test_0_again_without_a_request(project: Project) -> None:
    """A finished run sends nothing when run again, and gives its exit code again."""
    job = project.people(300)
    backfill("run", job, "--target", "sandbox")
    again = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert again.code == 0
    assert again.object["requests"] == again.object["bytes"]["wire"] == 0
    assert again.object["calls"]["delivered"] == 300


def test_1_unexpected_failure_leaves_a_report(tmp_path: Path) -> None:
    """A defect of ours is exit 1 with a report of versions and places in the code, without values."""
    session = Session(here=Here(state=tmp_path))

    def broken() -> None:
        secret = "ada@example.org"
        raise ValueError(f"cannot handle {secret}")

    assert run_reporting_errors(session, broken) == 1
    (report,) = (tmp_path / "crashes").iterdir()
    text = report.read_text(encoding="utf-8")
    assert "ValueError" in text
    assert "polars" in text
    assert "in broken" in text
    assert "ada@example.org" not in text
    assert S_IMODE(report.stat().st_mode) == 0o600


def test_1_damaged_ledger(project: Project) -> None:
    """A ledger that is none is told as such, with a hint, not as a crash."""
    job = project.people(10)
    backfill("run", job, "--target", "sandbox")
    (run,) = StateFolder(project.state).runs()
    run.ledger.write_bytes(b"this is no database at all, whatever its name says" * 100)
    result = backfill("run", job, "--target", "sandbox")
    assert result.code == 1
    assert "ledger.sqlite3" in result.err
    assert "crash" not in result.err


def test_2_faults_of_a_job_all_at_once(project: Project) -> None:
    """Every fault is shown with its line; of several jobs one faulty one keeps all from running."""
    good, bad = project.people(10), project.people(10, name="bad")
    bad.write_text(bad.read_text(encoding="utf-8").replace("userId: id", "userid: id\n    evnt: x"), encoding="utf-8")
    result = backfill("run", good, bad, "--target", "sandbox")
    assert result.code == 2
    assert "bad.yaml:" in result.err
    assert "userId" in result.err
    assert "evnt" in result.err
    assert not project.state.exists()


def test_2_column_that_is_not_there(project: Project) -> None:
    """A column the source does not have is found before anything runs, with what was probably meant."""
    job = project.people(10)
    job.write_text(job.read_text(encoding="utf-8").replace("email: email", "email: emial"), encoding="utf-8")
    for verb in ("check", "dry-run"):
        result = backfill(verb, job)
        assert result.code == 2, verb
        assert "emial" in result.err
        assert "email" in result.err


def test_2_target_has_to_be_said_without_a_terminal(project: Project) -> None:
    """`run` does not guess where to send when nobody watches."""
    result = backfill("run", project.people(10))
    assert result.code == 2
    assert "--target" in result.err


def test_2_live_without_terminal_and_yes(project: Project, endpoint: str, key: str) -> None:
    """Nobody could confirm a live run: nothing is read, nothing is made."""
    result = backfill("run", project.people(10), "--target", "segment", "--endpoint", endpoint)
    assert result.code == 2
    assert "--yes" in result.err
    assert not project.state.exists()


def test_2_live_without_integrations(project: Project, endpoint: str, key: str) -> None:
    """A live run wants every call to say which destinations it may reach."""
    job = project.people(10)
    job.write_text(job.read_text(encoding="utf-8").replace("    integrations: {All: false}\n", ""), encoding="utf-8")
    result = backfill("run", job, "--target", "segment", "--endpoint", endpoint, "--yes")
    assert result.code == 2
    assert "integrations" in result.err
    assert backfill("run", job, "--target", "sandbox").code == 0


def test_2_live_without_a_key(project: Project, endpoint: str) -> None:
    """A missing write key is told by the name of its variable."""
    result = backfill("run", project.people(10), "--target", "segment", "--endpoint", endpoint, "--yes")
    assert result.code == 2
    assert "SEGMENT_WRITE_KEY" in result.err


def test_2_sandbox_elsewhere(project: Project) -> None:
    """The sandbox takes only loopback endpoints at which a sandbox of ours answers."""
    job = project.people(10)
    assert backfill("run", job, "--target", "sandbox", "--endpoint", "https://api.segment.io").code == 2
    nobody = backfill("run", job, "--target", "sandbox", "--endpoint", "http://127.0.0.1:9")
    assert nobody.code == 2
    assert "no sandbox" in nobody.err


def test_2_nothing_to_resume(project: Project) -> None:
    """`resume` without an unfinished run, and with a name that is no run's."""
    job = project.people(10)
    assert backfill("resume", "--state-dir", project.state).code == 2
    backfill("run", job, "--target", "sandbox")
    assert backfill("resume", "--state-dir", project.state).code == 2
    assert backfill("resume", "nothing", "--state-dir", project.state).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--no-such-option"],
        ["run", "missing.yaml"],
        ["run"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_2_usage(arguments: list[str]) -> None:
    """Words the command line does not know are exit 2."""
    assert backfill(*arguments).code == 2


@pytest.mark.parametrize("options", [["--rate", "fast"], ["--max-rejects", "many"], ["--max-rejects", "101%"]])
def test_2_values_of_options(project: Project, options: list[str]) -> None:
    """Values that are none are refused with what would be one."""
    result = backfill("run", project.people(10), "--target", "sandbox", *options)
    assert result.code == 2
    assert options[1].rstrip("%") in result.err


def test_folder_runs_in_byte_order(project: Project) -> None:
    """`run DIR` takes the job files by the bytes of their names, capitals first."""
    for name in ("b", "a", "B", "a1"):
        project.people(3, name=name)
    result = backfill("run", project.folder, "--target", "sandbox", "--output", "json")
    assert result.code == 0
    assert [one["job"] for one in result.objects] == ["B", "a", "a1", "b"]


def test_two_jobs_of_one_name(project: Project) -> None:
    """Two files with one name would be one run: refused."""
    one, two = project.people(3, name="one"), project.people(3, name="two")
    two.write_text(two.read_text(encoding="utf-8").replace("name: two", "name: one"), encoding="utf-8")
    assert backfill("run", one, two, "--target", "sandbox").code == 2


@pytest.mark.parametrize("verb", ["check", "preview", "dry-run", "run"])
@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "shop.db", "book.XLSX"])
def test_data_in_place_of_a_job_file(tmp_path: Path, verb: str, name: str) -> None:
    """Data is not read as YAML: what a job file is is said."""
    (tmp_path / name).write_bytes(b"id,at\n\x00\x1f")
    result = backfill(verb, tmp_path / name, *(["--target", "sandbox"] if verb == "run" else []))
    assert result.code == 2
    assert f"{name} is data by its name" in result.err
    assert f"{name} -o job.yaml` writes a job file" in result.err


def test_the_targets_in_place_of_a_job_file(project: Project) -> None:
    """As a pattern of the shell gives them, among the job files: they are not read as one."""
    targets = project.folder / "targets.yaml"
    targets.write_text("version: 1\ntargets: {prod: {kind: segment}}\n", "utf-8")
    result = backfill("check", project.people(3), targets)
    assert (result.code, "has the targets, and is no job file" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("word", "told"),
    [("statsu", "did you mean status?"), ("dry_run", "did you mean dry-run?"), ("frob", "check, explain, preview"),
     ("job.yaml", "`backfill run job.yaml`")],
)  # fmt: skip
def test_a_mistyped_verb(word: str, told: str) -> None:
    """What was meant is said."""
    result = backfill(word)
    assert result.code == 2
    assert told in result.err


HEAVY = {"polars", "duckdb", "pyarrow", "numpy", "pydantic", "ruamel", "httpx", "uvicorn"}


@pytest.mark.parametrize("words", [["status"], ["status", "people"], ["rejects"], ["--help"], ["run", "--help"]])
def test_verbs_that_only_look_load_nothing_heavy(project: Project, words: list[str]) -> None:
    """What is known from the ledger alone is shown without a library for data."""
    backfill("run", project.people(5), "--target", "sandbox")
    assert loaded(project.folder, words, HEAVY) == set()


SENDS = {"httpx", "httpcore", "tqdm", "uvicorn", "adbc_driver_sqlite", "adbc_driver_manager"}


@pytest.mark.parametrize("verb", ["check", "preview", "dry-run"])
def test_verbs_that_send_nothing_load_no_sender(project: Project, verb: str) -> None:
    """What only judges rows loads no client, no bars and no driver."""
    project.people(5)
    assert loaded(project.folder, [verb, "people.yaml"], SENDS) == set()


@pytest.mark.parametrize("verb", ["check", "preview", "dry-run"])
def test_a_job_that_does_not_fit_is_told_early(project: Project, verb: str) -> None:
    """A fault of the job file is found without any library for data, one against the header without polars."""
    job = project.people(5)
    text = job.read_text(encoding="utf-8")
    job.write_text(text.replace("userId: id", "userId: ids"), encoding="utf-8")
    assert loaded(project.folder, [verb, "people.yaml"], HEAVY | SENDS) == {
        "ruamel",
        "pydantic",
        "numpy",
        "pyarrow",
        "duckdb",
    }
    job.write_text(text.replace("userId:", "user_id:"), encoding="utf-8")
    assert loaded(project.folder, [verb, "people.yaml"], HEAVY | SENDS) == {"ruamel", "pydantic"}


@pytest.mark.parametrize("words", [["rejects"], ["rejects", "people"], ["rejects", "people.yaml"]])
def test_rejects_are_listed_by_one_library(project: Project, words: list[str]) -> None:
    """A list of rejects needs a reader of Parquet alone: neither the job's models nor a reader of its source."""
    backfill("run", project.people(30, bad=[7, 9]), "--target", "sandbox")
    assert loaded(project.folder, words, HEAVY) == {"duckdb"}
