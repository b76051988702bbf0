"""What is asked of a place that several machines reach, and which one a URL means."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from backfill.errors import UsageError
from backfill.job.remote import BUCKETS, remote, remote_fault, scheme_of


def never() -> bool:
    """Nothing stops it."""
    return False


class SharedPlace(Protocol):
    """Files by key, as every machine sees them. Thread-safe.

    What was put is there for all machines when `put` returns, whole or not at all, a power cut included.
    All methods raise StoppedError where the place is out of reach or refuses; what was done before stays done.
    """

    @property
    def url(self) -> str:
        """Where it is, for people; it holds no secret."""

    def make_usable(self) -> None:
        """See to it that files can be put there.

        Raises:
            UsageError: They never can: it is no folder, say.
        """

    def put(self, key: str, file: Path, stopping: Callable[[], bool] = never) -> None:
        """Put a file of this machine there, in place of one of that key.

        Raises:
            InterruptedRunError: It was stopped while the place was busy or slow; perhaps the file is there.
        """

    def create(self, key: str, content: bytes) -> bool:
        """Put a small file there where nothing of that key is; whether it was this one that was put."""

    def get(self, key: str, file: Path) -> None:
        """Make `file` of what is there; what it holds after an error counts for nothing.

        Raises:
            FileNotFoundError: There is nothing of that key.
        """

    def sizes(self, prefix: str) -> dict[str, int]:
        """The keys below `prefix`, which ends before a slash, and how many bytes each has."""

    def remove(self, keys: Collection[str]) -> None:
        """Remove these; what is not there stays away."""


def place_url(text: str) -> str:
    """A place as it is noted: the URL of a bucket, or the whole path of a folder.

    Raises:
        UsageError: It is neither.
    """
    scheme = scheme_of(text)
    if not scheme:
        return str(Path(text).expanduser().absolute())
    if scheme not in BUCKETS:
        raise UsageError(
            f"--spool {scheme}://... is no place for files", hint="give s3://, gs:// or az://, or a shared folder"
        )
    fault = remote_fault(text)
    if fault is not None:
        raise UsageError(f"the URL of --spool {fault[0]}", hint=fault[1].replace("from the job file", "from a URL"))
    at = remote(text.rstrip("/"))
    return f"{at.root}{at.key}".rstrip("/")


def open_place(url: str) -> SharedPlace:
    """The place of that URL, as `place_url` gives it; touches nothing."""
    if scheme_of(url):
        from backfill.shared.bucket import Bucket  # noqa: PLC0415 (obstore, for runs that are in one)

        return Bucket(url)
    from backfill.shared.folder import Folder  # noqa: PLC0415 (as above)

    return Folder(Path(url))
