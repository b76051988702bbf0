"""Places that several machines reach, each with what can befall it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.prepare import frames
from backfill.report import runs
from backfill.shared import files
from tests.support import buckets, preparing
from tests.support.shared_places import Behind, BucketPlace, FolderPlace


@pytest.fixture(scope="session")
def bucket() -> Iterator[buckets.Store]:
    """A store of objects."""
    with buckets.served() as served:
        yield served


@pytest.fixture
def in_bucket(bucket: buckets.Store, monkeypatch: pytest.MonkeyPatch) -> buckets.Store:
    """The store of objects, empty, with what leads to it in the environment."""
    for name, value in buckets.credentials(bucket).items():
        monkeypatch.setenv(name, value)
    bucket.objects.clear()
    bucket.script = lambda _: None
    return bucket


@pytest.fixture(params=["bucket", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Behind:
    """A place of each kind; nothing waits long."""
    monkeypatch.setattr(files, "LATE", (0.01, 0.01))
    if request.param == "folder":
        return FolderPlace(tmp_path / "shared")
    return BucketPlace(request.getfixturevalue("in_bucket"), monkeypatch)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows make several shards, in this process."""
    for module in (frames, runs):
        monkeypatch.setattr(module, "SHARD_ROWS", preparing.SMALL_SHARD)
    monkeypatch.setattr(files, "LATE", (0.01,))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sample jobs, and of an odd one."""
    return preparing.lay_out(tmp_path_factory.mktemp("samples"))
