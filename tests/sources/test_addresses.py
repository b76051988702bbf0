"""Which database a job means: what is filled in, what is shown of it, and what never is."""

from __future__ import annotations

import pytest

from backfill.errors import JobError
from backfill.job.models import DriverSpec
from backfill.sources.databases.address import address_of, live_source
from tests.support.sourcing import job_over


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("postgresql://u@db.example.com:5433/shop", "postgresql://db.example.com:5433/shop"),
        (
            "postgresql://a:5432,b:5433/shop?target_session_attrs=any",
            "postgresql://a:5432,b:5433/shop?target_session_attrs=any",
        ),
        (
            "postgresql:///shop?host=/run/postgresql&user=me&sslmode=require",
            "postgresql:///shop?host=%2Frun%2Fpostgresql",
        ),
        ("postgresql:///?service=shop&password=${PASS}", "postgresql:///?service=shop"),
        ("postgres://u:${PASS}@[::1]/shop", "postgres://[::1]/shop"),
        ("${WHOLE}", "postgresql://h/shop"),
    ],
)
def test_what_is_shown(written: str, shown: str) -> None:
    """Host, database and service; neither who asks nor how."""
    environ = {"PASS": "open/sesame", "WHOLE": "postgresql://u:open%2Fsesame@h/shop"}
    address = address_of(job_over(database=written, query="SELECT 1"), environ)
    assert address.shown == shown
    assert "sesame" not in repr(address)
    if "$" in written:
        assert "open%2Fsesame" in address.uri
        said = address.without_secrets(f"bad: {address.uri} open/sesame\n open%2Fsesame")
        assert "sesame" not in said


def test_what_makes_no_url() -> None:
    """A variable that is not there, or that breaks the URL, is told without what it holds."""
    for whole in (
        "postgresql://u:open/sesame@h/shop",
        "postgresql://u:open#sesame@h/shop",
        "postgresql://u:sesame@[h/shop",
    ):
        with pytest.raises(JobError) as caught:
            address_of(job_over(database="${WHOLE}", query="SELECT 1"), {"WHOLE": whole})
        assert "sesame" not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(JobError, match="the environment has no WHOLE"):
        address_of(job_over(database="${WHOLE}", query="SELECT 1"), {})


def test_drivers() -> None:
    """A driver's options and URI are filled in as they are, and shown by the driver's name."""
    spec = DriverSpec(driver="adbc_driver_x", uri="u:${PASS}@account/shop", options={"a.b": "${PASS}", "c": "d"})
    address = address_of(job_over(database=spec, query="SELECT 1"), {"PASS": "sesame"})
    assert (address.uri, address.options) == ("u:sesame@account/shop", {"a.b": "sesame", "c": "d"})
    assert address.shown == "adbc://adbc_driver_x/account/shop"
    assert address.without_secrets("no: sesame") == "no: ..."


def test_the_fingerprint() -> None:
    """It is of what is asked of which database, whoever asks."""

    def of(**source: str) -> str:
        return live_source(job_over(**{"database": "postgresql://u@h/shop", "query": "SELECT 1"} | source)).sha256

    assert of() == of(database="postgresql://v@h/shop?sslmode=require")
    assert (
        len({of(), of(query="SELECT 2"), of(database="postgresql://h/other"), of(database="postgresql://i/shop")}) == 4
    )
