"""Drift: what makes a run another one, what does not, what is said of it, and which ways lead on; as one table."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import backfill as package
from backfill.ledger import LedgerReader
from backfill.pipeline import new_run
from tests.support.projects import KEY, backfill
from tests.support.reruns import SCOPE, Reruns, id_of, reruns

ROWS = 40
#: One age is another one, of as many digits.
EDITED = (7, 8)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write key in the environment."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Reruns]:
    """A job and its target, nothing delivered yet."""
    with reruns(tmp_path) as bench:
        bench.members([(number, number % 10) for number in range(ROWS)])
        yield bench


def source(bench: Reruns) -> Path:
    """The source's file."""
    return bench.project.folder / "members.csv"


# ------------------------------------------------------------------------------------------------------------ the cases


def grown(bench: Reruns) -> None:
    """Rows were appended."""
    bench.members([(number, number % 10) for number in range(ROWS + 10)])


def shrunk(bench: Reruns) -> None:
    """Rows were taken away."""
    bench.members([(number, number % 10) for number in range(ROWS - 10)])


def edited(bench: Reruns) -> None:
    """Other bytes of the same size."""
    text = source(bench).read_text(encoding="utf-8")
    source(bench).write_text(text.replace("u7,2023-05-01,7", "u7,2023-05-01,8"), encoding="utf-8")


def edited_in_secret(bench: Reruns) -> None:
    """Other bytes of the same size in the same file, its time of change put back: only the kernel's own tells."""
    before = source(bench).stat()
    with source(bench).open("r+b") as file:
        file.seek(file.read().index(b"u7,2023-05-01,7") + 14)
        file.write(b"8")
    os.utime(source(bench), ns=(before.st_atime_ns, before.st_mtime_ns))
    after = source(bench).stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def exchanged_in_secret(bench: Reruns) -> None:
    """Another file of the same size and time in its place."""
    before = source(bench).stat()
    other = source(bench).with_suffix(".new")
    other.write_bytes(source(bench).read_bytes().replace(b"u7,2023-05-01,7", b"u7,2023-05-01,8"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(source(bench))


def mapping_edited(bench: Reruns) -> None:
    """A trait has another name."""
    bench.mapping(trait="years")


def rule_added(bench: Reruns) -> None:
    """A new field of the job."""
    bench.job.write_text(bench.job.read_text(encoding="utf-8") + "rules: {BF105: warn}\n", encoding="utf-8")


@dataclass(frozen=True)
class Case:
    """Something that was changed, and what is to be said of it."""

    change: Callable[[Reruns], None]
    named: str


DRIFTS = [
    Case(grown, "members.csv was changed (+"),
    Case(shrunk, "members.csv was changed (-"),
    Case(edited, "members.csv was changed (same size, other bytes)"),
    Case(edited_in_secret, "members.csv was changed (same size, other bytes)"),
    Case(exchanged_in_secret, "members.csv was changed (same size, other bytes)"),
    Case(mapping_edited, "calls[0].traits.years was added"),
    Case(rule_added, "rules was added"),
]


def comment(bench: Reruns) -> None:
    """A comment, and the order of keys."""
    text = bench.job.read_text(encoding="utf-8")
    first, *rest = text.splitlines()
    bench.job.write_text("\n".join(["# a remark", *rest, first, ""]), encoding="utf-8")


def renamed_profile(bench: Reruns) -> None:
    """The target's profile has another name; a second one of the old name leads elsewhere."""
    path = bench.project.folder / "targets.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("prod:", "production:"), encoding="utf-8")


def touched(bench: Reruns) -> None:
    """The same bytes at another time."""
    os.utime(source(bench), (time.time() + 50, time.time() + 50))


def copied(bench: Reruns) -> None:
    """The same bytes in another file of the same name."""
    shutil.copyfile(source(bench), source(bench).with_suffix(".copy"))
    source(bench).with_suffix(".copy").replace(source(bench))


def moved_job(bench: Reruns) -> None:
    """The job file has another name."""
    bench.job.rename(bench.project.folder / "renamed.yaml")


SAMES = [comment, renamed_profile, touched, copied, moved_job]
STANDINGS = ["finished", "stopped", "prepared"]


def begun(bench: Reruns, standing: str) -> int:
    """Bring the run to that state; returns how many calls were delivered."""
    options = {"finished": [], "stopped": ["--canary"], "prepared": ["--max-rejects", "0"]}[standing]
    if standing == "prepared":
        bench.members([*[(number, number % 10) for number in range(ROWS)], (ROWS, "old")])
    bench.run(*options)
    assert bench.states() == [standing]
    return {"finished": ROWS, "stopped": 10, "prepared": 0}[standing]


def run_again(bench: Reruns, *options: str) -> tuple[int, str]:
    """Run the job, wherever it and its profile are by now; returns exit code and what was said."""
    job = bench.job if bench.job.exists() else bench.project.folder / "renamed.yaml"
    targets = (bench.project.folder / "targets.yaml").read_text(encoding="utf-8")
    target = "production" if "production:" in targets else "prod"
    words = ["--target", target, "--yes", "--rate", "unlimited", "--output", "json"]
    result = backfill("run", job, *words, *options)
    return result.code, result.err


# ------------------------------------------------------------------------------------------------------------ the table


@pytest.mark.parametrize("standing", STANDINGS)
@pytest.mark.parametrize("case", DRIFTS, ids=lambda case: case.change.__name__)
def test_drift_is_refused(bench: Reruns, case: Case, standing: str) -> None:
    """What was changed is named, nothing is sent, the ways on are told, and each of them is one."""
    delivered = begun(bench, standing)
    case.change(bench)
    start = bench.requests
    code, said = run_again(bench)
    assert code == 6
    assert case.named in said
    assert bench.requests == start
    assert "--only-new" in said
    assert "generation: 2" in said
    assert ("backfill resume" in said) == (standing != "finished")
    assert ("--abandon" in said) == (standing != "finished")
    assert bench.states() == [standing]
    code, said = run_again(bench, "--only-new")
    assert code in (0, 3), said
    sent = bench.sent(start)
    assert len(sent) == len(set(sent))
    assert not set(sent) & {id_of(number) for number in range(delivered)}


@pytest.mark.parametrize("standing", STANDINGS)
@pytest.mark.parametrize("same", SAMES, ids=lambda change: change.__name__)
def test_no_drift(bench: Reruns, same: Callable[[Reruns], None], standing: str) -> None:
    """What changes nothing of the calls is no difference: a finished run sends nothing, the others go on."""
    delivered = begun(bench, standing)
    same(bench)
    start = bench.requests
    code, said = run_again(bench)
    assert code in (0, 3), said
    assert bench.sent(start) == [id_of(number) for number in range(delivered, ROWS)]
    assert bench.states() == ["finished"]


def test_upgrade_is_no_drift(bench: Reruns, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run begun with another version of the program goes on, with the library version that its calls had."""
    with monkeypatch.context() as older:
        older.setattr(new_run, "__version__", "0.0.1")
        begun(bench, "stopped")
    assert package.__version__ != "0.0.1"
    assert run_again(bench)[0] == 0
    with LedgerReader(bench.state.runs()[0].ledger) as reader:
        assert reader.status().record.library_version == "0.0.1"
        assert reader.counts().delivered == ROWS


@pytest.mark.parametrize("standing", STANDINGS)
def test_another_scope(bench: Reruns, standing: str) -> None:
    """Another write key makes other ids: refused, --only-new too, since by them nothing was ever delivered."""
    delivered = begun(bench, standing)
    bench.scope("another")
    start = bench.requests
    ways = ["--only-new"] + (["--abandon"] if delivered else [])
    for options in ([], *([way] for way in ways)):
        code, said = run_again(bench, *options)
        assert code == 6
        assert f"the scope of its message ids was {SCOPE}, now it is another" in said
        assert f"id_scope: {SCOPE}" in said
        assert "`generation: 2`" in said
        assert "backfill resume" not in said  # it would be refused for the same reason
        assert ("`--abandon` gives it up" in said) is (standing == "prepared")
    if standing == "stopped":
        assert bench.ask("resume", "--yes").code == 6
    assert bench.requests == start
    assert bench.states() == [standing]
    if not delivered:  # no id of the old scope was ever sent
        assert run_again(bench, "--abandon")[0] == 3
    else:
        bench.scope(SCOPE)
        assert run_again(bench)[0] == 0


def test_another_scope_after_an_earlier_run(bench: Reruns) -> None:
    """Where the later run is gone, the scope of the earlier one counts: else all would be sent again."""
    begun(bench, "finished")
    grown(bench)
    run_again(bench, "--only-new")
    shutil.rmtree(bench.state.runs()[0].path)
    bench.scope("another")
    start = bench.requests
    assert run_again(bench)[0] == 6
    assert bench.requests == start
    bench.scope(SCOPE)
    assert run_again(bench)[0] == 0
    assert len(bench.sent(start)) == 10  # of the run whose ledger was removed nobody knows


def test_another_scope_behind_an_earlier_run(bench: Reruns) -> None:
    """The way `--abandon` is not named where it leads nowhere: what came before has the other scope as well."""
    begun(bench, "finished")
    bench.members([*[(number, number % 10) for number in range(ROWS + 5)], (ROWS + 5, "old")])
    assert run_again(bench, "--only-new", "--max-rejects", "0")[0] == 4
    bench.scope("another")
    code, said = run_again(bench)
    assert code == 6
    assert "--abandon" not in said
    bench.scope(SCOPE)
    assert run_again(bench)[0] == 3
    assert len(bench.sent()) == len(set(bench.sent())) == ROWS + 5


def test_another_target_is_another_run(bench: Reruns, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same job to another endpoint begins at its beginning, and neither run knows of the other."""
    begun(bench, "finished")
    with reruns(tmp_path_factory.mktemp("other")) as other:
        words = ["--target", "segment", "--endpoint", other.tap.url, "--yes", "--output", "json", "--rate", "unlimited"]
        result = backfill("run", bench.job, *words, "--only-new")
        assert result.object["calls"]["delivered"] == ROWS
        assert len(other.sent()) == ROWS
    assert len(bench.state.runs()) == 2
    assert run_again(bench)[0] == 0


@pytest.mark.parametrize("standing", STANDINGS)
@pytest.mark.parametrize("case", DRIFTS, ids=lambda case: case.change.__name__)
def test_sandbox_begins_afresh(bench: Reruns, case: Case, standing: str) -> None:
    """A rehearsal whose job or source was changed begins afresh, and says why; with --only-new it does not."""
    options = {"finished": [], "stopped": ["--canary"], "prepared": ["--max-rejects", "0"]}[standing]
    if standing == "prepared":
        bench.members([*[(number, number % 10) for number in range(ROWS)], (ROWS, "old")])
    words = ["run", bench.job, "--target", "sandbox", "--output", "json"]
    before = backfill(*words, *options).object["calls"]["delivered"]
    kept = bench.project.folder / "kept"
    shutil.copytree(bench.project.state, kept)
    case.change(bench)
    afresh = backfill(*words)
    assert afresh.code in (0, 3)
    assert case.named in afresh.err
    assert afresh.object["calls"]["already_delivered"] == 0
    assert not bench.state.earlier()
    shutil.rmtree(bench.project.state)
    kept.rename(bench.project.state)
    only_new = backfill(*words, "--only-new").object["calls"]
    assert only_new["already_delivered"] == min(before, only_new["planned"])
    assert only_new["delivered"] == afresh.object["calls"]["delivered"] - only_new["already_delivered"]
