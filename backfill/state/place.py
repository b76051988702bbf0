"""Where the state folder is, and whether that place will do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from backfill.errors import StoppedError, UsageError

FOLDER_NAME = ".backfill"
TARGETS_FILE = "targets.yaml"
#: What every state folder has in it.
RUNS_FOLDER, LOCKS_FOLDER = "runs", "locks"
#: A state folder of their own for dry runs, inside of another.
DRY_RUNS_FOLDER = "dry-runs"
#: Below a state folder: what lies on this machine of what is shared.
CACHE_FOLDER = "cache"
#: A state folder of its own for the bytes of runs whose ledgers are in a database, inside of another.
BYTES_FOLDER = "bytes"
#: What a verb that only looks may make where there is no state folder yet.
MADE_BY_LOOKING = frozenset((CACHE_FOLDER, BYTES_FOLDER))
#: File systems on which locks, shared memory or fsync do not reach other machines, or do not hold
#: (https://www.sqlite.org/wal.html: WAL does not work over a network file system).
NETWORK_FILE_SYSTEMS = frozenset(
    ("afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs")
)
#: The same, as programs in user space (the type is `fuse.` and this).
NETWORK_FUSE = frozenset(
    (
        *("blobfuse", "blobfuse2", "ceph", "curlftpfs", "davfs", "gcsfuse", "glusterfs", "goofys", "juicefs"),
        *("mount-s3", "rclone", "s3fs", "smbnetfs", "sshfs"),
    )
)


def state_folder_of_job(job_file: Path) -> Path:
    """Where the runs of a job are: beside the nearest targets.yaml above the job file, else beside the job file."""
    folder = job_file.absolute().parent
    for above in (folder, *folder.parents):
        if (above / TARGETS_FILE).is_file():
            return above / FOLDER_NAME
    return folder / FOLDER_NAME


def state_folder_from(start: Path) -> Path:
    """Where a verb without a job looks: the nearest state folder or targets.yaml from `start` (a folder) upward.

    Where there is neither, the place in `start` itself, which need not exist.
    """
    start = start.absolute()
    for above in (start, *start.parents):
        if (above / FOLDER_NAME).is_dir() or (above / TARGETS_FILE).is_file():
            return above / FOLDER_NAME
    return start / FOLDER_NAME


def lock_file(run_id: str) -> str:
    """The name of the file below `LOCKS_FOLDER` that is locked by the process at work on a run."""
    return f"{run_id}.lock"


def holds_state(folder: Path) -> bool:
    """Whether this is a state folder, of whatever name."""
    return (folder / RUNS_FOLDER).is_dir() and (folder / LOCKS_FOLDER).is_dir()


def file_system_type(path: Path, mountinfo: str) -> str:
    """The type of the file system that an absolute, resolved path is on.

    `mountinfo` is the text of /proc/self/mountinfo (proc_pid_mountinfo(5)); of several mounts on one point the last
    is the one seen. Empty where no mount holds the path.
    """
    found, kind = -1, ""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        if not source:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mount.split(" ")[4]))
        if path.is_relative_to(point) and len(point.parts) >= found:
            found, kind = len(point.parts), source.split(" ")[0]
    return kind


def refuse_network(folder: Path) -> None:
    """Raise UsageError where the folder is on a network file system. Known on Linux only; elsewhere it passes."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    kind = file_system_type(nearest_existing(folder).resolve(), mountinfo)
    if kind in NETWORK_FILE_SYSTEMS or (kind.startswith("fuse.") and kind[5:] in NETWORK_FUSE):
        raise UsageError(
            f"the state folder {folder} is on a network file system ({kind}), where a ledger is not safe",
            hint="give a folder on a local disk with --state-dir",
        )


def ensure_space(folder: Path, bytes_needed: int) -> None:
    """Refuse early what would fill the disk.

    Raises:
        StoppedError: The folder's file system has less than `bytes_needed` for us.
    """
    free = shutil.disk_usage(nearest_existing(folder)).free
    if free < bytes_needed:
        raise StoppedError(
            f"{_size(bytes_needed)} are needed in {folder}, {_size(free)} are free",
            hint="free some space or give a folder on another disk with --state-dir; then go on",
        )


def nearest_existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(above for above in (path, *path.parents) if above.exists())


def _size(count: int) -> str:
    """A number of bytes as people read it, in decimal units."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"
