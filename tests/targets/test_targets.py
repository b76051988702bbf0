"""Targets: those that are built in, keys that stay hidden, rates."""

import copy
import pickle
from dataclasses import asdict
from pathlib import Path

import pytest

from backfill.errors import ExitCode, UsageError
from backfill.limits import SEGMENT
from backfill.targets import (
    Secret,
    TargetKind,
    load_target,
    parse_rate,
)
from backfill.targets.forms import ProfileForm
from tests.support.target_files import ENVIRON, KEY, KEY_SHA256, faults, load

# -- built in --------------------------------------------------------------------------------------------------------


def test_the_sandbox_needs_nothing() -> None:
    """The sandbox exists without a file, a key or an endpoint, and is the same run wherever it listens."""
    target = load_target("sandbox", targets_file=None, environ={})
    assert (target.kind, target.live, target.rate, target.id_scope) == (TargetKind.SANDBOX, False, None, "sandbox")
    assert (target.endpoint, target.identity, target.key_digest, target.ids_are_live) == ("", "sandbox", "", False)
    placed = target.at("http://127.0.0.1:4567")
    assert placed.batch_url == "http://127.0.0.1:4567/v1/batch"
    assert placed.identity == "sandbox"


@pytest.mark.parametrize("url", ["http://10.0.0.1:80", "https://api.segment.io", "ftp://127.0.0.1"])
def test_the_sandbox_stays_on_loopback(url: str) -> None:
    """Nothing puts the sandbox elsewhere, nor a live target where the sandbox is."""
    sandbox = load_target("sandbox", targets_file=None, environ={})
    with pytest.raises(UsageError):
        sandbox.at(url)
    with pytest.raises(UsageError):
        load_target("sandbox", targets_file=None, endpoint=url, environ={})
    with pytest.raises(UsageError):
        load_target("segment", targets_file=None, environ=ENVIRON).at("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("name", "region", "endpoint"),
    [("segment", "us", "https://api.segment.io"), ("segment-eu", "eu", "https://events.eu1.segmentapis.com")],
)
def test_segment_in_both_regions(name: str, region: str, endpoint: str) -> None:
    """Segment exists without a file, at its documented pace and limits."""
    target = load_target(name, targets_file=None, environ=ENVIRON)
    assert (target.kind, target.live, target.region) == (TargetKind.SEGMENT, True, region)
    assert (target.endpoint, target.batch_url) == (endpoint, f"{endpoint}/v1/batch")
    assert (target.rate, target.limits, target.gzip) == (1000, SEGMENT, True)
    assert (target.id_scope, target.key_digest, target.ids_are_live) == (KEY_SHA256, KEY_SHA256[:8], True)
    assert target.identity == f"segment {endpoint}"


def test_an_endpoint_of_the_command_line_wins() -> None:
    """--endpoint replaces the region's endpoint, and says which region it is where it is one."""
    local = load_target("segment", targets_file=None, endpoint="127.0.0.1:8080", environ=ENVIRON)
    assert (local.batch_url, local.region) == ("http://127.0.0.1:8080/v1/batch", "")
    other = load_target("segment", targets_file=None, endpoint="events.eu1.segmentapis.com/v1/", environ=ENVIRON)
    assert (other.endpoint, other.region) == ("https://events.eu1.segmentapis.com", "eu")
    with pytest.raises(UsageError, match="endpoint is empty"):
        load_target("segment", targets_file=None, endpoint="", environ=ENVIRON)


def test_an_unknown_target_says_what_there_is() -> None:
    """A misspelt name finds its neighbour, a strange one the whole list."""
    with pytest.raises(UsageError) as caught:
        load_target("sandbx", targets_file=None, environ={})
    assert caught.value.hint == 'did you mean "sandbox"?'
    assert caught.value.exit_code is ExitCode.USAGE
    with pytest.raises(UsageError) as caught:
        load_target("q", targets_file=None, environ={})
    assert caught.value.hint == "there are: sandbox, segment, segment-eu"


# -- keys ------------------------------------------------------------------------------------------------------------


def test_a_missing_key_says_which_variable() -> None:
    """A live target without a key says what to set."""
    with pytest.raises(UsageError, match="SEGMENT_WRITE_KEY is not set") as caught:
        load_target("segment", targets_file=None, environ={})
    assert "export SEGMENT_WRITE_KEY" in caught.value.hint


def test_a_dry_run_goes_without_a_key(tmp_path: Path) -> None:
    """Where no key is wanted its absence gives the sandbox's ids and says so, unless the profile states a scope."""
    target = load_target("segment", targets_file=None, environ={}, need_key=False)
    assert (target.write_key, target.id_scope, target.ids_are_live, target.key_digest) == (None, "sandbox", False, "")
    stated = load(tmp_path, "prod: {kind: segment, id_scope: shop}", environ={}, need_key=False)
    assert (stated.write_key, stated.id_scope, stated.ids_are_live) == (None, "shop", True)


@pytest.mark.parametrize("value", ["", "  ", "two words", "a:b", "schlüssel", "a\x07", "x" * 2000])
def test_what_is_no_key(value: str) -> None:
    """A variable that holds no key is refused without showing it."""
    with pytest.raises(UsageError) as caught:
        load_target("segment", targets_file=None, environ={"SEGMENT_WRITE_KEY": value})
    assert "SEGMENT_WRITE_KEY" in caught.value.message
    assert not value.strip() or value not in caught.value.message + caught.value.hint


def test_a_key_file_is_its_owner_s(tmp_path: Path) -> None:
    """A key file is read where only its owner can read it, from beside the targets file."""
    text = "prod: {kind: segment, write_key_file: key}"
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path, text, environ={})
    assert load(tmp_path, text, environ={}, need_key=False).write_key is None
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    file.chmod(0o640)
    with pytest.raises(UsageError, match="open to others") as caught:
        load(tmp_path, text, environ={})
    assert caught.value.hint == f"chmod 600 {file}"
    file.chmod(0o600)
    assert load(tmp_path, text, environ={}).write_key == Secret(KEY)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="holds no write key"):
        load(tmp_path, text, environ={})


def test_segment_s_key_goes_to_no_other_company(tmp_path: Path) -> None:
    """SEGMENT_WRITE_KEY is used for another kind only where a profile says so."""
    (fault,) = faults(tmp_path, "prod: {kind: rudderstack, endpoint: x.example}")
    assert "needs `write_key`" in fault.message


def test_a_key_hides(tmp_path: Path) -> None:
    """No way of printing or storing a target shows its key."""
    target = load_target("segment", targets_file=None, environ=ENVIRON)
    assert target.write_key is not None
    shown = [repr(target), str(target), f"{target.write_key}", repr(asdict(target)), repr(copy.copy(target))]
    assert not any(KEY in text for text in shown)
    assert target.write_key.reveal() == KEY
    assert target.write_key != Secret("other")
    assert hash(target.write_key) == hash(Secret(KEY))
    with pytest.raises(TypeError):
        pickle.dumps(target)


# -- rates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"), [("1000/s", 1000.0), ("1000", 1000.0), (" 0.5/s ", 0.5), ("unlimited", None), ("1e3", 0)]
)
def test_rates(text: str, rate: float | None) -> None:
    """Calls a second, or none; anything else is refused."""
    if rate == 0:
        with pytest.raises(UsageError, match="not a valid rate"):
            parse_rate(text)
    else:
        assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0/s", "-1", "1000/m", "1,000", "inf", "nan", "1_000", "9" * 12])
def test_what_is_no_rate(text: str) -> None:
    """Zero, minus, other units and other notations are no rates."""
    with pytest.raises(UsageError) as caught:
        parse_rate(text)
    assert "1000/s" in caught.value.hint


# -- docs ------------------------------------------------------------------------------------------------------------


def test_the_example_of_the_reference_loads(tmp_path: Path, repository: Path) -> None:
    """The example in docs/targets.md is sound, and every field of a profile is in the reference."""
    text = (repository / "docs" / "targets.md").read_text(encoding="utf-8")
    path = tmp_path / "targets.yaml"
    path.write_text(text.split("```yaml\n")[2].split("```")[0], encoding="utf-8")
    keys = dict.fromkeys(("JITSU_WRITE_KEY", "CUSTOMER_IO_KEY", "DATAFLY_KEY"), KEY)
    for name in ("jitsu", "customer-io", "datafly"):
        assert load_target(name, targets_file=path, environ=keys).live
    path.write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    target = load_target("prod", targets_file=path, environ={"SHOP_WRITE_KEY": KEY})
    assert (target.region, target.rate, target.id_scope) == ("eu", 500, "shop-prod")
    assert [name for name in ProfileForm.field_names() if f"`{name}`" not in text] == []


def test_the_key_is_no_scope(tmp_path: Path) -> None:
    """A scope is stored in the clear and part of every message id: the key is refused as one, and not repeated."""
    profile = "prod: {kind: segment, write_key: '${SEGMENT_WRITE_KEY}', id_scope: 'x-${SEGMENT_WRITE_KEY}'}"
    with pytest.raises(UsageError, match="holds the write key") as caught:
        load(tmp_path, profile)
    assert KEY not in str(caught.value) + caught.value.hint
