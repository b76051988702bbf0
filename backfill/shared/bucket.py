"""A bucket of an object store, or a prefix in one, as a place for shared files.

An object appears whole or not at all, large ones (multipart) too, and is durable once the store has answered; that is
said by each of S3, Google Cloud Storage and Azure, and that a listing then has it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from backfill.buckets.asking import ask
from backfill.buckets.refusals import refusal
from backfill.buckets.stores import obstore, store_of
from backfill.disk import out_of_space
from backfill.errors import InterruptedRunError, SourceError, StoppedError
from backfill.job.remote import remote
from backfill.shared.place import never

#: Bytes of one part, of what is put in parts; and how many of them are under way at once.
PART_BYTES: Final = 5 << 20
PARTS_AT_ONCE: Final = 2
#: Seconds without an answer until a connection counts as lost: a part goes up before anything comes back.
STALL_SECONDS = 120.0
_PIECE_BYTES: Final = 1 << 20
_PAGE: Final = 1_000


class Bucket:
    """A `SharedPlace` in a bucket."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._at = remote(url)

    @property
    def url(self) -> str:
        """The URL of the bucket and the prefix."""
        return self._url

    def make_usable(self) -> None:
        """See that there is a library for it; whether it can be written the first file tells.

        Raises:
            UsageError: It is not installed.
        """
        obstore()

    def put(self, key: str, file: Path, stopping: Callable[[], bool] = never) -> None:
        """Put the file, in parts where it is large."""

        def put() -> None:
            obstore().put(self._store(), self._name(key), file, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

        def watch(_: int) -> None:
            if stopping():
                raise InterruptedRunError("interrupted")

        with self._told():
            try:
                ask(self._at, self._shown(key), put, watch, writing=True)
            except FileNotFoundError as error:  # there is no bucket
                raise refusal(error, self._at, self._shown(key), writing=True) from None

    def create(self, key: str, content: bytes) -> bool:
        """Put the object on the condition that there is none (If-None-Match)."""
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415 (as obstore itself)

        def create() -> bool:
            try:
                obstore().put(self._store(), self._name(key), content, mode="create")
            except AlreadyExistsError:  # perhaps by a request of ours whose answer was lost
                return bytes(obstore().get(self._store(), self._name(key)).bytes()) == content
            return True

        with self._told():
            return ask(self._at, self._shown(key), create, _unwatched, writing=True)

    def get(self, key: str, file: Path) -> None:
        """Fetch the object."""

        def get() -> None:
            found = obstore().get(self._store(), self._name(key))
            target.seek(0)
            target.truncate()
            for piece in found.stream(min_chunk_size=_PIECE_BYTES):
                rest = memoryview(piece)
                with out_of_space(file.parent):
                    while rest:  # one write may take less, near the end of a disk
                        rest = rest[target.write(rest) :]

        with self._told(), out_of_space(file.parent), file.open("wb", buffering=0) as target:
            ask(self._at, self._shown(key), get, _unwatched)

    def sizes(self, prefix: str) -> dict[str, int]:
        """What a listing shows."""
        begin = len(self._name(""))

        def listed() -> dict[str, int]:
            pages = obstore().list(self._store(), self._name(prefix), chunk_size=_PAGE)
            return {meta["path"][begin:]: meta["size"] for page in pages for meta in page}

        with self._told():
            return ask(self._at, self._shown(prefix), listed, _unwatched)

    def remove(self, keys: Collection[str]) -> None:
        """Remove the objects."""
        names = [self._name(key) for key in keys]

        def remove() -> None:
            try:
                obstore().delete(self._store(), names)
            except FileNotFoundError:  # Azure says so of one that is gone
                for name in names:
                    with suppress(FileNotFoundError):
                        obstore().delete(self._store(), name)

        if names:
            with self._told():
                ask(self._at, self._shown(min(keys)), remove, _unwatched, writing=True)

    def _store(self) -> Any:  # noqa: ANN401
        return store_of(self._at, stall=STALL_SECONDS)

    def _name(self, key: str) -> str:
        return f"{self._at.key}/{key}" if self._at.key else key

    def _shown(self, key: str) -> str:
        return f"{self._url}/{key}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What a store refuses stops a run, which goes on once that is mended."""
        try:
            yield
        except SourceError as error:
            raise StoppedError(error.message, hint=error.hint or "go on once it answers") from None


def _unwatched(_: int) -> None:
    """Nothing ends it."""
