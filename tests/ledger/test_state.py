"""The state folder: where it is, who may enter, and who is at work in it."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import LedgerError, LockedError, StoppedError, UsageError
from backfill.state import (
    ensure_space,
    file_system_type,
    run_id,
    state_folder_from,
    state_folder_of_job,
)
from backfill.state.folder import StateFolder
from backfill.state.run import RunFolder
from tests.torture.kinds import small_disk

MOUNTINFO = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
40 22 0:35 / /home rw shared:7 - nfs4 server:/export/home rw,vers=4.2
41 40 0:36 / /home/me/local\040disk rw - xfs /dev/sdb1 rw
42 22 0:37 / /mnt/share rw - fuse.sshfs me@host:/ rw
43 22 0:38 / /mnt/share rw - ext4 /dev/sdc1 rw
"""


def test_beside_the_nearest_targets_file(tmp_path: Path) -> None:
    """A job's runs are beside the nearest targets.yaml above it, else beside the job file."""
    jobs = tmp_path / "project" / "jobs" / "2024"
    jobs.mkdir(parents=True)
    job = jobs / "orders.yaml"
    assert state_folder_of_job(job) == jobs / ".backfill"
    (tmp_path / "targets.yaml").touch()
    assert state_folder_of_job(job) == tmp_path / ".backfill"
    (tmp_path / "project" / "targets.yaml").touch()
    assert state_folder_of_job(job) == tmp_path / "project" / ".backfill"


def test_relative_job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is one from the current folder."""
    monkeypatch.chdir(tmp_path)
    assert state_folder_of_job(Path("orders.yaml")) == tmp_path / ".backfill"


def test_without_a_job_it_is_found_upward(tmp_path: Path) -> None:
    """A verb without a job looks from the current folder upward, and names a place there where there is none."""
    below = tmp_path / "project" / "jobs"
    below.mkdir(parents=True)
    assert state_folder_from(below) == below / ".backfill"
    (tmp_path / "targets.yaml").touch()
    assert state_folder_from(below) == tmp_path / ".backfill"
    (tmp_path / "project" / ".backfill").mkdir()
    assert state_folder_from(below) == tmp_path / "project" / ".backfill"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/runs", "ext4"),
        ("/home/me/jobs", "nfs4"),
        ("/homes", "ext4"),
        ("/home/me/local disk/jobs", "xfs"),
        ("/mnt/share/jobs", "ext4"),
    ],
)
def test_file_system_of_a_path(path: str, kind: str) -> None:
    """The longest mount point wins, of two on one point the later; spaces are written in octal."""
    assert file_system_type(Path(path), MOUNTINFO) == kind


def test_no_mount_no_type() -> None:
    """A table that knows nothing refuses nothing."""
    assert file_system_type(Path("/var"), "") == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.s3fs", "ceph"])
def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A ledger on a network file system could lie after a crash: refused, with the way out."""
    table = f"22 1 254:0 / / rw - {kind} server:/export rw\n"
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, *rest, **named: table if self.name == "mountinfo" else read(self, *rest, **named),
    )
    with pytest.raises(UsageError, match=kind) as refusal:
        StateFolder(tmp_path / "deep" / ".backfill").make_usable()
    assert "--state-dir" in refusal.value.hint
    assert not (tmp_path / "deep").exists()


def test_made_private_and_ignored_by_git(tmp_path: Path) -> None:
    """Mode 0700 whatever it was, and git sees nothing of it."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    folder = tmp_path / ".backfill"
    folder.mkdir(mode=0o755)
    state = StateFolder(folder)
    state.make_usable()
    state.make_usable()
    run = state.run("orders-sandbox-g1-00000000")
    run.make()
    run.make()
    run.ledger.touch()
    assert {path.stat().st_mode & 0o777 for path in (folder, run.path)} == {0o700}
    status = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path, check=True, capture_output=True)
    assert status.stdout == b""


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    """--state-dir given a project folder by mistake does not make it private and ignored."""
    (tmp_path / "README.md").touch()
    before = tmp_path.stat().st_mode
    with pytest.raises(UsageError, match="holds other things") as refusal:
        StateFolder(tmp_path).make_usable()
    assert str(tmp_path / ".backfill") in refusal.value.hint
    assert (tmp_path.stat().st_mode, sorted(path.name for path in tmp_path.iterdir())) == (before, ["README.md"])


def test_a_place_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way is a wrong usage, not a crash."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made"):
        StateFolder(tmp_path / "file" / ".backfill").make_usable()


def test_a_disk_that_may_not_be_written(tmp_path: Path) -> None:
    """Exit 5, where runs are there, to be gone on with once it may, as where there is nothing yet."""
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("nobody may mount a tmpfs here")
        StateFolder(disk / "used").make_usable()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(StoppedError, match="Read-only file system") as stopped:
            StateFolder(disk / "used").make_usable()
        assert "then resume" in stopped.value.hint
        with pytest.raises(StoppedError, match="Read-only file system") as stopped:
            StateFolder(disk / "new" / ".backfill").make_usable()
        assert "--state-dir" in stopped.value.hint


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EACCES, UsageError), (errno.ENOSPC, StoppedError), (errno.EROFS, StoppedError)]
)
def test_a_place_where_nothing_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    """A folder of somebody else is the wrong place, a full or read-only disk is not."""

    def refuse(path: Path, **_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(error):
        StateFolder(tmp_path / ".backfill").make_usable()


def test_runs_are_found_by_what_they_are(tmp_path: Path) -> None:
    """Name, target and generation name the folder; each of them makes another run, a kind alone does not."""
    state = StateFolder(tmp_path / ".backfill")
    assert state.runs() == []
    state.make_usable()
    run = state.find("Orders 2019–2024", "segment", "segment https://api.segment.io", 1)
    assert run.run_id.startswith("orders-20192024-segment-g1-")
    assert not run.begun()
    run.make()
    assert state.runs() == []
    run.ledger.touch()
    assert run == state.find("Orders 2019–2024", "segment", "segment https://api.segment.io", 1)
    assert state.runs() == [run]
    assert (run.spool_folder.parent, run.snapshot.parent) == (run.path, run.path)
    others = [
        state.find("orders 2019-2024", "segment", "segment https://api.segment.io", 1),
        state.find("Orders 2019–2024", "segment", "segment https://events.eu1.segmentapis.com", 1),
        state.find("Orders 2019–2024", "segment", "segment https://api.segment.io", 2),
    ]
    assert len({run.run_id, *(other.run_id for other in others)}) == 4


@given(name=st.text(), generation=st.integers(1, 10**9))
def test_a_run_id_is_a_plain_file_name(name: str, generation: int) -> None:
    """Whatever a job is called, its run's id is short, lower case ASCII and no path."""
    made = run_id(name, "segment", "segment https://api.segment.io", generation)
    assert made == made.lower()
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(made) < 90
    assert not made.startswith("-")


def test_latest_run_first(tmp_path: Path) -> None:
    """Runs are listed by when their ledgers were written."""
    state = StateFolder(tmp_path / ".backfill")
    state.make_usable()
    for place, name in enumerate(["a", "c", "b"]):
        run = state.run(name)
        run.make()
        run.ledger.touch()
        os.utime(run.ledger, (place, place))
    assert [run.run_id for run in state.runs()] == ["b", "c", "a"]


def test_discarding_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A discarded run has never been, also where removing its files was interrupted; those go the next time."""
    state = StateFolder(tmp_path / ".backfill")
    state.make_usable()
    run = state.run("orders")
    state.discard(run)
    run.make()
    run.ledger.touch()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        state.discard(run)
    assert not run.path.exists()
    assert state.runs() == []
    assert len(list((state.path / "discarded").iterdir())) == 1
    state.make_usable()
    assert list((state.path / "discarded").iterdir()) == []


def test_second_lock_is_refused_and_names_the_process(tmp_path: Path) -> None:
    """One holder at a time, within a process as well; released, it is free again."""
    state = StateFolder(tmp_path / ".backfill")
    state.make_usable()
    with state.lock("orders"):
        with (
            pytest.raises(LockedError, match=rf"pid {os.getpid()}\) is at work on the run orders") as refusal,
            state.lock("orders"),
        ):
            pytest.fail("it was held")
        assert refusal.value.exit_code == 7
        with state.lock("others"):
            pass
    with state.lock("orders"):
        pass


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    """The lock holds against another process and ends with it, even by SIGKILL."""
    state = StateFolder(tmp_path / ".backfill")
    state.make_usable()
    program = (
        "import sys, time; from pathlib import Path; from backfill.state import open_store\n"
        "with open_store(Path(sys.argv[1])).lock('orders'): print('taken', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, state.path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"taken\n"
        with pytest.raises(LockedError, match=f"pid {holder.pid}"), state.lock("orders"):
            pytest.fail("it was held")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with state.lock("orders"):
            pass


def test_an_unknown_holder_is_not_named(tmp_path: Path) -> None:
    """A lock file without a number in it still locks."""
    state = StateFolder(tmp_path / ".backfill")
    state.make_usable()
    with state.lock("orders"):
        (state.path / "locks" / "orders.lock").write_text("?")
        with pytest.raises(LockedError, match="another process is at work"), state.lock("orders"):
            pytest.fail("it was held")


def test_too_little_space_is_refused_early(tmp_path: Path) -> None:
    """What does not fit stops the run before it is written, with both sizes; the folder need not exist yet."""
    ensure_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(StoppedError, match=r"1000000000\.0 GB are needed in .* are free") as stop:
        ensure_space(tmp_path, 10**18)
    assert stop.value.exit_code == 5


def test_sizes_are_told_in_decimal_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, kB, MB and GB of 1,000, as disks are sold."""
    usage = shutil.disk_usage(tmp_path)
    for free, said in ((17, "17 bytes"), (1_500, "1.5 kB"), (2_000_000, "2.0 MB")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        with pytest.raises(StoppedError, match=f"{said} are free"):
            ensure_space(tmp_path, 10**9)


def test_batches_without_their_ledger_are_no_new_run(tmp_path: Path) -> None:
    """What was sent stood in the ledger alone: to begin afresh beside its spool would send everything again."""
    folder = RunFolder(tmp_path / "run")
    folder.spool_folder.mkdir(parents=True)
    assert not folder.begun()
    (folder.spool_folder / "000000.segment").touch()
    with pytest.raises(LedgerError, match="its ledger"):
        folder.begun()
