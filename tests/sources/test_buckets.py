"""Objects of buckets and files of web servers, read over real HTTP from a store that the tests start."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import trustme

from backfill.buckets import asking, stores
from backfill.buckets.refusals import refusal
from backfill.errors import InterruptedRunError, JobError, SourceError, StoppedError
from backfill.job.remote import Remote
from backfill.shared import open_place
from backfill.sources import inspect, locate, resolve, stage, unchanged
from backfill.sources.origins import fetched
from backfill.sources.origins.buckets import matches
from tests.support.buckets import Asked, Fault, Store, credentials, served
from tests.support.sourcing import job_over, staged

ROWS = b"id,text\n" + b"".join(b"%d,row %d\n" % (number, number) for number in range(20_000))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store, to which the environment leads; impatient."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(asking, "PATIENCE", (0.01, 0.01, 0.02))
    monkeypatch.setattr(asking, "FIRST_PATIENCE", (0.01,))
    with served() as one:
        for name, value in credentials(one).items():
            monkeypatch.setenv(name, value)
        yield one


def keys(url: str, **source: Any) -> list[str]:
    """The keys of what a URL stands for."""
    return [file.key for file in locate(job_over(url, **source))]


def refused(url: str, folder: Path, **source: Any) -> SourceError:
    """The error of staging it, which shows no secret."""
    with pytest.raises(SourceError) as caught:
        stage(job_over(url, **source), folder / "state")
    said = f"{caught.value.message} {caught.value.hint}"
    assert "tHeSeCrEt" not in said
    assert "Signature" not in said or "(SignatureDoesNotMatch)" in said
    assert caught.value.hint
    return caught.value


def test_rows_of_an_object(store: Store, tmp_path: Path) -> None:
    """An object is read once, whole, with its hash; nothing of its copy stays behind."""
    store.objects["a/rows.csv.gz"] = gzip.compress(ROWS)
    job = job_over("s3://shop/a/rows.csv.gz")
    (file,) = resolve(job, folder=tmp_path / "intake")
    assert (file.path, file.key) == ("s3://shop/a/rows.csv.gz", "rows.csv.gz")
    assert len(file.sha256) == 64
    result = staged(job, tmp_path / "state", files=[file])
    assert len(result.rows) == 20_000
    assert result.files[0] == "s3://shop/a/rows.csv.gz"
    assert len(store.gets()) == 1
    assert not list((tmp_path / "intake").rglob("*.*"))
    assert not (tmp_path / "intake" / "objects").exists()


def test_known_object_is_not_fetched(store: Store, tmp_path: Path) -> None:
    """Where size and ETag stand, the hash does too; another ETag, and it is read again."""
    store.objects["rows.csv"] = ROWS
    job = job_over("s3://shop/*.csv")
    before = resolve(job, folder=tmp_path)
    fetched = len(store.gets())
    assert resolve(job, folder=tmp_path / "other", trusted=before) == before
    assert len(store.gets()) == fetched
    store.objects["rows.csv"] = ROWS.replace(b"row 7\n", b"row 8\n")
    after = resolve(job, folder=tmp_path / "other", trusted=before)
    assert after[0].sha256 != before[0].sha256


PATTERNS = [
    ("s3://shop/a/*.csv", ["1.csv", "2.csv"]),
    ("s3://shop/a/", ["1.csv", "2.csv", "b/3.csv", "year=2024/4.csv"]),
    ("s3://shop/a", ["1.csv", "2.csv", "b/3.csv", "year=2024/4.csv"]),
    ("s3://shop/**/[34].csv", ["a/b/3.csv", "a/year=2024/4.csv"]),
    ("s3://shop/a/b/**", ["3.csv"]),
    ("s3://shop/a/_skip/*", ["5.csv"]),
    ("s3://shop/a/.hid*", [".hidden.csv"]),
    ("s3://shop/a/1.csv", ["1.csv"]),
    ("s3://shop/odd/[1].csv", ["[1].csv"]),
    ("S3A://shop/odd/ü 日%20.csv", ["ü 日%20.csv"]),
]


@pytest.mark.parametrize(("url", "found"), PATTERNS)
def test_patterns(store: Store, url: str, found: list[str]) -> None:
    """A URL stands for objects as a path does for files."""
    for key in ("a/1.csv", "a/2.csv", "a/b/3.csv", "a/year=2024/4.csv", "a/_skip/5.csv", "a/.hidden.csv", "ab/6.csv",
                "odd/[1].csv", "odd/1.csv", "odd/ü 日%20.csv"):  # fmt: skip
        store.objects[key] = b"id\n1\n"
    store.objects |= {"a/": b"", "a/b/": b""}  # as consoles mark folders
    assert keys(url) == found


def test_pattern_that_means_a_folder(store: Store, tmp_path: Path) -> None:
    """What a pattern's last part matches is no folder; nothing is passed over."""
    store.objects |= {"a/1/x.csv": b"id\n1\n", "a/2": b"id\n1\n"}
    assert "s3://shop/a/1 is a folder" in refused("s3://shop/a/*", tmp_path, format="csv").message
    assert "no object matches" in refused("s3://shop/a/*.csv", tmp_path).message
    assert "does not exist" in refused("s3://shop/none.csv", tmp_path).message


def test_ten_thousand_keys(store: Store) -> None:
    """A listing of 10,000 keys comes in pages, and a look fetches the beginnings of a few objects."""
    store.objects |= {f"part/{number:05}.csv": b"id\n%d\n" % number for number in range(10_000)}
    found = locate(job_over("s3://shop/part/*.csv"))
    assert [file.key for file in found] == [f"{number:05}.csv" for number in range(10_000)]
    assert sum("list-type" in one.query for one in store.asked) == 10
    assert len(store.gets()) <= 8
    assert inspect(job_over("s3://shop/part/*.csv")).columns[0].name == "id"
    assert len(store.gets()) <= 24


def test_matching_in_full() -> None:
    """The pattern of a key says what it says."""
    assert matches(["a", "b", "c.csv"], ["**", "*.csv"])
    assert matches(["c.csv"], ["**", "*.csv"])
    assert not matches(["a", ".b", "c.csv"], ["**", "*.csv"])
    assert not matches(["a", "c.csv"], ["*.csv"])


def test_partitions_of_keys(store: Store, tmp_path: Path) -> None:
    """Folders such as year=2024 in a key are columns."""
    store.objects |= {f"t/year={year}/x.csv": b"id\n1\n" for year in (2023, 2024)}
    assert staged(job_over("s3://shop/t/"), tmp_path / "state").rows == [("1", "2023"), ("1", "2024")]


def test_parquet_object(store: Store, tmp_path: Path) -> None:
    """Parquet of a bucket is staged, never left in place."""
    pl.DataFrame({"id": ["1", "2"], "n": [3, None]}).write_parquet(tmp_path / "x.parquet")
    store.objects["x.parquet"] = (tmp_path / "x.parquet").read_bytes()
    job = job_over("s3://shop/x.parquet")
    assert [column.name for column in inspect(job).columns][:2] == ["id", "n"]
    result = staged(job, tmp_path / "state")
    assert not result.snapshot.in_place
    assert result.rows == [("1", 3), ("2", None)]


def test_look_at_parquet(store: Store, tmp_path: Path) -> None:
    """A look at a large Parquet object fetches its footer and the beginning, by ranges of the pinned state."""
    rows = 400_000
    frame = pl.DataFrame({"id": [f"{n * 7919:012}" for n in range(rows)], "n": [n * n for n in range(rows)]})
    frame.write_parquet(tmp_path / "x.parquet", row_group_size=20_000, compression="uncompressed")
    store.objects["x.parquet"] = body = (tmp_path / "x.parquet").read_bytes()
    job = job_over("s3://shop/x.parquet")
    assert [column.name for column in inspect(job).columns][:2] == ["id", "n"]
    look = stage(job, tmp_path / "look", files=locate(job), sample=100)
    assert look.rows >= 100
    assert not look.in_place
    taken = sum(int(last) - int(first) for one in store.gets() for first, last in [ranged(one)])
    assert taken < len(body) / 4
    store.script = lambda asked: store.objects.update({"x.parquet": body + body}) if asked.method == "GET" else None
    fetched.OBJECT_COPIES.discard()
    assert "was changed while it was read" in refused("s3://shop/x.parquet", tmp_path).message


def ranged(asked: Asked) -> tuple[str, str]:
    """The range that was asked for; of a body without one the first 100,000 bytes, before it is closed."""
    said = {name.lower(): value for name, value in asked.headers.items()}.get("range", "bytes=0-100000")
    first, _, last = said.removeprefix("bytes=").partition("-")
    return first, last


def test_further_input_of_a_query(store: Store, tmp_path: Path) -> None:
    """`files` of a query may be objects, beside files of this machine."""
    store.objects["names.csv"] = b"id,name\n1,Ada\n"
    (tmp_path / "rows.csv").write_text("id\n1\n")
    query = "SELECT s.id, n.name FROM source s JOIN names n USING (id)"
    job = job_over(tmp_path / "rows.csv", query=query, files={"names": "s3://shop/names.csv"})
    assert staged(job, tmp_path / "state").rows == [("1", "Ada")]


def test_cut_and_busy(store: Store, tmp_path: Path) -> None:
    """A busy store is asked again; a body that is cut is taken up where it was cut."""
    store.objects["rows.csv"] = ROWS
    answers = [Fault(503, "SlowDown"), Fault(500), Fault(cut=100_000), Fault(429), Fault(cut=1_000)]
    store.script = lambda asked: answers.pop(0) if answers and asked.key and asked.method == "GET" else None
    result = staged(job_over("s3://shop/rows.csv"), tmp_path / "state")
    assert len(result.rows) == 20_000
    assert not answers
    assert any(one.headers.get("range") or one.headers.get("Range") for one in store.gets())


def test_stalled_body(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of which nothing more comes is taken up anew."""
    monkeypatch.setattr(stores, "STALL_SECONDS", 0.3)
    store.objects["rows.csv"] = ROWS
    store.once(Fault(stall=50_000))
    assert len(staged(job_over("s3://shop/rows.csv"), tmp_path / "state").rows) == 20_000


def test_replaced_half_way(store: Store, tmp_path: Path) -> None:
    """An object that is replaced while it is read is an error: no bytes of the other one are taken."""
    store.objects["rows.csv"] = ROWS

    def replace() -> None:
        store.objects["rows.csv"] = ROWS.replace(b"row", b"raw")

    store.once(Fault(cut=100_000, then=replace))
    assert "was changed while it was read" in refused("s3://shop/rows.csv", tmp_path).message


def test_removed_half_way(store: Store, tmp_path: Path) -> None:
    """So is one that is removed."""
    store.objects["rows.csv"] = ROWS
    store.once(Fault(cut=100_000, then=store.objects.clear))
    assert "was removed while it was read" in refused("s3://shop/rows.csv", tmp_path).message


def test_store_that_stays_away(store: Store, tmp_path: Path) -> None:
    """A store that stays busy, or that nobody answers for, is an error of the source."""
    store.always(Fault(503, "SlowDown"))
    assert "out of order or busy" in refused("s3://shop/rows.csv", tmp_path).message
    os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    assert "nothing answers there" in refused("s3://shop/rows.csv", tmp_path).message


def test_what_is_no_store(store: Store, tmp_path: Path) -> None:
    """Another server behind the endpoint is told as that, not as a lost connection."""
    store.tagged = False
    (tmp_path / "file").write_bytes(ROWS)
    with pytest.raises(StoppedError) as caught:
        open_place("s3://shop/runs").put("file", tmp_path / "file")
    error = caught.value
    assert "cannot be written: what answers there does not answer as such a store does" in error.message
    assert error.hint == "is the endpoint right?"


REFUSALS: list[tuple[Fault, str, str]] = [
    (Fault(404, "NoSuchBucket"), "there is no bucket shop", "name"),
    (Fault(403, "AccessDenied"), "access is denied", "AWS_REQUEST_PAYER=requester"),
    (Fault(403, "InvalidAccessKeyId"), "does not know these credentials", "AWS_ACCESS_KEY_ID"),
    (Fault(403, "SignatureDoesNotMatch"), "does not know these credentials", "AWS_SECRET_ACCESS_KEY"),
    (Fault(400, "ExpiredToken"), "have expired", "get new ones"),
    (Fault(403, "RequestTimeTooSkewed"), "clock", "clock"),
    (Fault(400, "AuthorizationHeaderMalformed", "<Region>eu-north-1</Region>"), "eu-north-1", "AWS_REGION=eu-north-1"),
    (
        Fault(301, "PermanentRedirect", headers={"x-amz-bucket-region": "sa-east-1"}),
        "sa-east-1",
        "AWS_REGION=sa-east-1",
    ),
    (Fault(400, "UserProjectMissing"), "requester pays", "--billing-project"),
    (Fault(403, "InvalidObjectState"), "archived", "restore"),
]


@pytest.mark.parametrize(("fault", "what", "hint"), REFUSALS, ids=[fault.code for fault, _, _ in REFUSALS])
@pytest.mark.parametrize("url", ["s3://shop/x.csv", "s3://shop/*.csv"])
def test_refusals(store: Store, tmp_path: Path, fault: Fault, what: str, hint: str, url: str) -> None:
    """A refusal says what it is and what to do, of an object and of a listing."""
    store.objects["x.csv"] = ROWS
    store.always(fault)
    error = refused(url, tmp_path)
    assert what in error.message
    assert hint in error.hint


def test_no_credentials(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys the machine's role is asked, and where there is none, that is said; a profile is named."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "work")
    error = refused("s3://shop/x.csv", tmp_path)
    assert "the AWS profile work is read by boto3" in error.message
    assert "export-credentials" in error.hint


@pytest.mark.parametrize(("scheme", "vendor"), [("s3", "AWS"), ("gs", "GOOGLE"), ("az", "AZURE")])
def test_public_buckets(scheme: str, vendor: str) -> None:
    """Who has no credentials may not need any: the hint says how to ask without."""
    error = refusal(OSError("error sending request for http://169.254.169.254/x"), Remote(scheme, "shop", "x"), "x")
    assert "needs credentials, and there are none" in error.message
    assert f"{vendor}_SKIP_SIGNATURE=true" in error.hint


def test_missing_extra(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without obstore the extra is named."""
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(Exception, match="not installed") as caught:
        locate(job_over("s3://shop/x.csv"))
    assert getattr(caught.value, "hint", "").endswith(" 'backfill[cloud]'")


def test_stopping(store: Store, tmp_path: Path) -> None:
    """Asked to stop while the store is out of reach, the waiting ends."""
    store.objects["rows.csv"] = ROWS
    files = locate(job_over("s3://shop/rows.csv"))
    store.always(Fault(503))
    with pytest.raises(InterruptedRunError):
        stage(job_over("s3://shop/rows.csv"), tmp_path / "state", files=files, stopping=lambda: True)


def test_stopping_while_nothing_comes(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits for ever is not waited for once somebody wants to stop: in a look, a listing and a body."""
    monkeypatch.setattr(stores, "STALL_SECONDS", 3600.0)
    store.objects["rows.csv"] = ROWS
    job = job_over("s3://shop/rows.csv")
    files = locate(job)
    store.once(Fault(stall=70_000), times=100)
    asked = len(store.asked)
    for read in (
        lambda stopping: resolve(job, folder=tmp_path, stopping=stopping),
        lambda stopping: stage(job, tmp_path / "state", files=files, stopping=stopping),
        lambda stopping: inspect(job, stopping=stopping),
    ):
        with pytest.raises(InterruptedRunError):
            read(lambda: bool(store.gets()) and len(store.asked) > asked)


def test_full_disk(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies that the disk has no room for are not begun."""
    store.objects["rows.csv"] = ROWS
    monkeypatch.setattr(fetched, "_RESERVE_BYTES", 10**18)
    with pytest.raises(StoppedError, match="copies of the source's objects"):
        resolve(job_over("s3://shop/rows.csv"), folder=tmp_path)


def test_copy_of_an_earlier_process(store: Store, tmp_path: Path) -> None:
    """A copy that is whole is used by the next process; what was begun is not."""
    store.objects |= {"1.csv": ROWS, "2.csv": ROWS + b"x,y\n"}
    job = job_over("s3://shop/*.csv")
    first = resolve(job, folder=tmp_path)
    fetched.OBJECT_COPIES._copies.clear()
    whole = sorted((tmp_path / "objects").iterdir())
    whole[0].rename(whole[0].with_suffix(".part"))
    assert resolve(job, folder=tmp_path) == first
    assert len(store.gets()) == 3
    fetched.OBJECT_COPIES.discard()


def test_web(store: Store, tmp_path: Path) -> None:
    """A file of a web server, over plain HTTP of this machine; one that could change unseen is refused."""
    store.objects["rows%s.csv"] = ROWS
    url = f"{store.url}/shop/rows%25s.csv"
    assert len(staged(job_over(url), tmp_path / "state").rows) == 20_000
    assert "does not exist" in refused(f"{store.url}/shop/none.csv", tmp_path).message
    store.script = lambda asked: Fault(405) if asked.method == "HEAD" else None
    assert len(staged(job_over(url), tmp_path / "headless").rows) == 20_000
    store.ranged = False
    store.once(Fault(cut=100_000))
    assert len(staged(job_over(url), tmp_path / "rangeless").rows) == 20_000
    store.tagged = False
    assert len(staged(job_over(url), tmp_path / "dated").rows) == 20_000
    store.dated = False
    assert "cannot be pinned" in refused(url, tmp_path).message


def test_tls(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate of nobody's is refused by what it is; one of an authority that SSL_CERT_FILE names is trusted."""
    authority = trustme.CA()
    with served(authority.issue_cert("localhost")) as web:
        web.objects["rows.csv"] = ROWS
        url = f"{web.url}/shop/rows.csv".replace("127.0.0.1", "localhost")
        assert "certificate is not trusted" in refused(url, tmp_path).message
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        stores._opened.cache_clear()
        assert len(staged(job_over(url), tmp_path / "state").rows) == 20_000


def test_gcs(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of GCS."""
    key = '{"gcs_base_url": "%s", "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}'
    (tmp_path / "key.json").write_text(key % store.url)
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "key.json"))
    assert "GOOGLE_ALLOW_HTTP" in refused("gs://shop/a/*.csv", tmp_path).hint
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    store.objects |= {"a/1.csv": ROWS, "a/2.csv": ROWS}
    assert len(staged(job_over("gs://shop/a/*.csv"), tmp_path / "state").rows) == 40_000
    # Else GCS unpacks objects that were stored with `Content-Encoding: gzip`: other bytes than were listed.
    assert {name.lower(): value for name, value in store.gets()[-1].headers.items()}["accept-encoding"] == "gzip"


def test_azure(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs of Azure; without an account, what to set."""
    assert "AZURE_STORAGE_ACCOUNT_NAME" in refused("az://shop/a/*.csv", tmp_path).hint
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", store.url)
    store.objects |= {"a/1.csv": ROWS, "a/2.csv": ROWS}
    assert len(staged(job_over("az://shop/a/*.csv"), tmp_path / "state").rows) == 40_000


def test_archive(store: Store, tmp_path: Path) -> None:
    """An archive is fetched once and read by its members, which are pinned as it is."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y=7/b.csv.gz", gzip.compress(b"id\n3\n"))
        archive.writestr("y=6/a.csv", b"id\n1\n2\n")
        archive.writestr("README.md", b"x")
    store.objects["in/e.zip"] = target.getvalue()
    job = job_over("s3://shop/in/*.zip", members=("*.csv*",))
    assert keys("s3://shop/in/*.zip", members=("*.csv*",)) == ["e.zip/y=6/a.csv", "e.zip/y=7/b.csv.gz"]
    store.asked.clear()
    files = resolve(job, folder=tmp_path / "intake")
    found = staged(job, tmp_path / "state", files=files)
    assert found.rows == [("1", "6"), ("2", "6"), ("3", "7")]
    assert found.files[0] == "s3://shop/in/e.zip/y=6/a.csv"
    assert len(store.gets()) == 1
    assert [column.name for column in inspect(job).columns][:2] == ["id", "y"]
    assert [file.sha256 for file in resolve(job, trusted=files)] == [file.sha256 for file in files]
    assert all(map(unchanged, files))
    store.objects["in/e.zip"] += b"x"
    assert not any(map(unchanged, files))
    assert "truncated or corrupt" in refused("s3://shop/in/e.zip", tmp_path, members=("*",)).message


def test_manifest(store: Store, tmp_path: Path) -> None:
    """Redshift's manifest in a bucket is the files that its URLs name, each as large as it says."""
    store.objects |= {"u/o_0001_part_00": b"id\n2\n", "u/y=1/o_0000_part_00": b"id\n1\n", "u/stale": b"id\n9\n"}
    entries: list[dict[str, Any]] = [
        {"url": f"s3://shop/{key}", "meta": {"content_length": len(store.objects[key])}}
        for key in ("u/y=1/o_0000_part_00", "u/o_0001_part_00")
    ]
    store.objects["u/o_manifest"] = json.dumps({"entries": entries}).encode()
    job = job_over("s3://shop/u/o_manifest", format="csv", union="by_name")
    assert [file.key for file in resolve(job, folder=tmp_path)] == ["o_0001_part_00", "y=1/o_0000_part_00"]
    assert staged(job, tmp_path / "state").column("id") == ["2", "1"]
    store.objects["u/o_0001_part_00"] += b"3\n"
    assert "says 5" in refused("s3://shop/u/o_manifest", tmp_path, format="csv").message
    del store.objects["u/o_0001_part_00"]
    assert "does not exist" in refused("s3://shop/u/o_manifest", tmp_path, format="csv").message


@pytest.mark.parametrize("way", ["lake/", "lake/t", "lake/t/*.parquet", "lake/*/*.parquet", "lake/**/*.parquet", ""])
@pytest.mark.parametrize(
    ("log", "name"), [("_delta_log/00000000000000000000.json", "delta"), ("metadata/v1.metadata.json", "iceberg")]
)
def test_objects_of_a_table(store: Store, way: str, log: str, name: str) -> None:
    """Objects beside the log of a table are refused as files of this machine are: deleted rows are among them."""
    store.objects = {"lake/t/a.parquet": b"PAR1", f"lake/t/{log}": b"{}", "lake/u/b.parquet": b"PAR1"}
    with pytest.raises(JobError, match=f"/lake/t/ is a table of {name.capitalize()}") as raised:
        locate(job_over(f"s3://shop/{way}", format="parquet"))
    assert f"format: {name}" in raised.value.hint
    assert keys("s3://shop/lake/u/", format="parquet") == ["b.parquet"]
