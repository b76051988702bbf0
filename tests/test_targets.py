"""Targets: what names the same endpoint is the same, keys stay hidden, and every fault of a profile has its place."""

import copy
import pickle
import textwrap
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import ExitCode, Fault, JobError, UsageError
from backfill.limits import SEGMENT, Limits
from backfill.targets import (
    AnswerForm,
    AuthForm,
    Secret,
    Target,
    TargetKind,
    find_targets,
    load_target,
    parse_rate,
)
from backfill.targets.duration import parse_duration
from backfill.targets.endpoint import EndpointError, parse_endpoint
from backfill.targets.file import ProfileForm

KEY = "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW"
KEY_SHA256 = "774255bc3901"
ENVIRON = {"SEGMENT_WRITE_KEY": KEY}


def written(folder: Path, text: str) -> Path:
    """A targets file of that text, below `version` and `targets`."""
    path = folder / "targets.yaml"
    path.write_text("version: 1\ntargets:\n" + textwrap.indent(textwrap.dedent(text), "  "), encoding="utf-8")
    return path


def load(folder: Path, text: str, name: str = "prod", **options: object) -> Target:
    """The target `prod` of that file."""
    given: dict[str, object] = {"environ": ENVIRON} | options
    return load_target(name, targets_file=written(folder, text), **given)  # type: ignore[arg-type]


def faults(folder: Path, text: str) -> tuple[Fault, ...]:
    """What a file is refused with; nothing in it may be a key."""
    with pytest.raises(JobError) as caught:
        load(folder, text)
    assert KEY not in repr([caught.value.args, caught.value.faults])
    return caught.value.faults


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


# -- endpoints -------------------------------------------------------------------------------------------------------


@given(
    scheme=st.sampled_from(["", "https://", "HTTPS://"]),
    host=st.sampled_from(["api.segment.io", "API.Segment.IO", "api.segment.io.", "api.segment.io:443"]),
    path=st.sampled_from(["", "/", "/v1", "/v1/", "/v1/batch", "/v1/batch/", "//v1//"]),
    space=st.sampled_from(["", " "]),
)
def test_the_same_endpoint_however_written(scheme: str, host: str, path: str, space: str) -> None:
    """With or without scheme, port, `/v1` and slashes it is one endpoint."""
    endpoint = parse_endpoint(f"{space}{scheme}{host}{path}{space}")
    assert endpoint.url == "https://api.segment.io"
    assert endpoint.batch_url == "https://api.segment.io/v1/batch"


@pytest.mark.parametrize(
    ("text", "url", "batch_url"),
    [
        ("localhost:8080", "http://localhost:8080", "http://localhost:8080/v1/batch"),
        ("http://127.0.0.1:80/", "http://127.0.0.1", "http://127.0.0.1/v1/batch"),
        ("[::1]:9", "http://[::1]:9", "http://[::1]:9/v1/batch"),
        ("https://[0:0:0:0:0:0:0:1]", "https://[::1]", "https://[::1]/v1/batch"),
        ("h.example/proxy/v1", "https://h.example/proxy", "https://h.example/proxy/v1/batch"),
        ("h.example/api/s/s2s/batch", "https://h.example/api/s/s2s/batch", "https://h.example/api/s/s2s/batch"),
    ],
)
def test_endpoints_of_other_shapes(text: str, url: str, batch_url: str) -> None:
    """Ports, addresses, prefixes, and batch URLs that stand elsewhere."""
    endpoint = parse_endpoint(text)
    assert (endpoint.url, endpoint.batch_url) == (url, batch_url)
    assert parse_endpoint(url).batch_url == batch_url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("api segment.io", "spaces"),
        ("ftp://x", "scheme ftp"),
        ("https://key:@api.segment.io", "user"),
        ("https://api.segment.io/?a=b", "query"),
        ("https://api.segment.io/#", "fragment"),
        ("api.segment.io:99999", "port"),
        ("api.segment.io:0", "port"),
        ("https://", "host"),
        ("https://bücher.example", "host"),
        ("https://[::g]", "URL"),
        ("-x.example", "host"),
        ("x.example/a b", "spaces"),
        ("x.example/%2e%2e/", "odd characters"),
    ],
)
def test_what_is_no_endpoint(text: str, message: str) -> None:
    """What an endpoint does not have is refused, and a user in it is never repeated."""
    with pytest.raises(EndpointError) as caught:
        parse_endpoint(text)
    assert message in caught.value.message
    assert "key" not in caught.value.message


@given(st.text())
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    """No text raises anything but EndpointError, and what is taken is taken again as the same."""
    try:
        endpoint = parse_endpoint(text)
    except EndpointError:
        return
    assert parse_endpoint(endpoint.url) == endpoint


# -- profiles --------------------------------------------------------------------------------------------------------


def test_a_profile_with_everything(tmp_path: Path) -> None:
    """Every field of a profile reaches the target, variables filled in."""
    target = load(
        tmp_path,
        """\
        prod:
          kind: compatible
          endpoint: https://${HOST}/v1/
          write_key: ${OTHER_KEY}
          id_scope: shop-${STAGE}
          rate: ${RATE}/s
          requests: ${REQUESTS}/s
          gzip: true
          limits: {body_bytes: 1000000, call_bytes: 100000, batch_calls: 500}
          headers: {X-Strict-Mode: "1", X-Stage: "${STAGE}"}
          auth: bearer
          auth_header: X-Write-Key
          dedup_window: ${DAYS}d
          answers: jitsu
        """,
        environ={
            "HOST": "cdp.example",
            "OTHER_KEY": KEY,
            "STAGE": "prod",
            "RATE": "250",
            "REQUESTS": "12.5",
            "DAYS": "7",
        },
    )
    assert (target.auth, target.auth_header, target.answers) == (AuthForm.BEARER, "X-Write-Key", AnswerForm.JITSU)
    assert target.dedup_window == 7 * 86_400
    assert target.key_origin == "the variable OTHER_KEY"
    assert target.batch_url == "https://cdp.example/v1/batch"
    assert target.write_key == Secret(KEY)
    assert (target.id_scope, target.rate, target.requests, target.gzip) == ("shop-prod", 250, 12.5, True)
    assert target.limits == Limits(1_000_000, 100_000, 500)
    assert target.headers == (("X-Strict-Mode", "1"), ("X-Stage", "prod"))
    assert target.identity == "compatible https://cdp.example"


def test_what_a_profile_leaves_out(tmp_path: Path) -> None:
    """The kind's own pace, limits and compression hold; the file's name for a target is not part of its identity."""
    text = "prod: {kind: segment, region: eu}\nother: {kind: segment, endpoint: events.eu1.segmentapis.com}\n"
    prod, other = load(tmp_path, text), load(tmp_path, text, "other")
    assert (prod.identity, prod.region) == (other.identity, other.region) == ("segment " + prod.endpoint, "eu")
    compatible = load(tmp_path, "prod: {kind: compatible, endpoint: x.example, write_key: '${SEGMENT_WRITE_KEY}'}")
    assert (compatible.rate, compatible.gzip, compatible.limits) == (1000, False, SEGMENT)


@pytest.mark.parametrize(
    ("kind", "window", "answers"),
    [
        ("segment", 86_400, AnswerForm.SUCCESS),
        ("sandbox", 86_400, AnswerForm.SUCCESS),
        ("rudderstack", 0, AnswerForm.OK),
        ("compatible", 0, AnswerForm.STATUS),
    ],
)
def test_what_a_kind_remembers_and_answers(tmp_path: Path, kind: str, window: float, answers: AnswerForm) -> None:
    """Only of Segment it is documented that it drops repeated ids; of others the profile has to say so."""
    place = "" if kind in ("segment", "sandbox") else ", endpoint: x.example, write_key: '${SEGMENT_WRITE_KEY}'"
    target = load(tmp_path, f"there: {{kind: {kind}{place}}}", "there")
    assert (target.dedup_window, target.answers, target.auth) == (window, answers, AuthForm.BASIC)


def test_limits_of_rudderstack(tmp_path: Path) -> None:
    """Its own, and a profile changes one without the others."""
    place = "kind: rudderstack, endpoint: x.example, write_key: '${SEGMENT_WRITE_KEY}'"
    assert load(tmp_path, f"prod: {{{place}}}").limits == Limits(4_000_000, 32_000, 2_500)
    changed = load(tmp_path, f"prod: {{{place}, limits: {{call_bytes: 64000, batch_calls: 100}}}}").limits
    assert changed == Limits(4_000_000, 64_000, 100)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("none", 0), ("3600s", 3600), ("90m", 5400), ("24h", 86_400), (" 7d ", 604_800), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    """Seconds, minutes, hours and days."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "24 h", "1w", "never", "١h", "9" * 7 + "s"])
def test_what_is_no_duration(text: str) -> None:
    """No unit, another one, minus, fractions and words are no durations."""
    with pytest.raises(UsageError) as caught:
        parse_duration(text)
    assert "24h" in caught.value.hint


def test_the_repository_s_own_file(repository: Path) -> None:
    """targets.yaml of the repository is sound."""
    assert load_target("sandbox", targets_file=repository / "targets.yaml", environ={}).kind is TargetKind.SANDBOX


PROFILE_FAULTS = [
    ("{kind: sandbx}", "kind", "sandbox"),
    ("{}", "kind", "is missing"),
    ("{kind: segment, regoin: eu}", "regoin", "no field"),
    ("{kind: segment, region: ap}", "region", "us or eu"),
    ("{kind: rudderstack, region: eu, endpoint: x.example, write_key: '${K}'}", "region", "only Segment"),
    ("{kind: segment, region: eu, endpoint: x.example}", "endpoint", "instead of `region`"),
    ("{kind: compatible, write_key: '${K}'}", "", "needs an `endpoint`"),
    ("{kind: compatible, endpoint: x.example}", "", "needs `write_key`"),
    ("{kind: compatible, endpoint: 'x y', write_key: '${K}'}", "endpoint", "spaces"),
    ("{kind: compatible, endpoint: 'http://x.example', write_key: '${K}'}", "endpoint", "plain http"),
    ("{kind: sandbox, endpoint: x.example}", "endpoint", "not on loopback"),
    (f"{{kind: segment, write_key: {KEY}}}", "write_key", "is no ${VAR}"),
    ("{kind: segment, write_key: 12345}", "write_key", "is no ${VAR}"),
    ("{kind: segment, write_key: 00123}", "write_key", "is no ${VAR}"),
    (f"{{kind: segment, write_key: '{KEY}${{K}}'}}", "write_key", "is no ${VAR}"),
    ("{kind: segment, write_key: '${K}', write_key_file: x}", "write_key_file", "instead of"),
    ("{kind: segment, rate: fast}", "rate", "no rate"),
    ("{kind: segment, rate: 0}", "rate", "no rate"),
    ("{kind: segment, rate: true}", "rate", "no rate"),
    ("{kind: segment, requests: 0/s}", "requests", "no rate"),
    ("{kind: segment, requests: [5]}", "requests", "no rate"),
    ("{kind: segment, id_scope: '  '}", "id_scope", "is empty"),
    ("{kind: segment, id_scope: '${A:-b}'}", "id_scope", "no variable"),
    ("{kind: segment, limits: {batch_calls: 2501}}", "limits.batch_calls", "above Segment's own 2,500"),
    ("{kind: segment, limits: {batch_calls: 0}}", "limits.batch_calls", "at least 1"),
    ("{kind: segment, limits: {body_bytes: 20000}}", "limits", "larger than a body"),
    ("{kind: rudderstack, endpoint: x.example, write_key: '${K}', limits: {call_bytes: 4000001}}", "limits", "a body"),
    ("{kind: segment, auth: bearer}", "auth", "not to be chosen"),
    ("{kind: segment, auth_header: X-Write-Key}", "auth_header", "not to be chosen"),
    ("{kind: compatible, endpoint: x.example, write_key: '${K}', auth: digest}", "auth", "basic or bearer or plain"),
    ("{kind: compatible, endpoint: x.example, write_key: '${K}', auth_header: 'a b'}", "auth_header", "no header"),
    ("{kind: compatible, endpoint: x.example, write_key: '${K}', auth_header: Host}", "auth_header", "set by backfill"),
    (
        "{kind: compatible, endpoint: x.example, write_key: '${K}', auth_header: X-K, headers: {x-k: '1'}}",
        "headers",
        "carries the write key",
    ),
    ("{kind: segment, dedup_window: 25h}", "dedup_window", "longer than the 24 h"),
    ("{kind: segment, dedup_window: 24}", "dedup_window", "no duration"),
    ("{kind: segment, dedup_window: soon}", "dedup_window", "no duration"),
    ("{kind: segment, dedup_window: '${A:-1}h'}", "dedup_window", "no variable"),
    ("{kind: segment, answers: jitsu}", "answers", "no single calls"),
    ("{kind: compatible, endpoint: x.example, write_key: '${K}', answers: xml}", "answers", "jitsu"),
    ("{kind: segment, headers: {Authorization: x}}", "headers.Authorization", "set by backfill"),
    ("{kind: segment, headers: {'a b': x}}", "headers.a b", "no header"),
    ('{kind: segment, headers: {A: "x\\ny"}}', "headers.A", "no header"),
]


@pytest.mark.parametrize(("profile", "path", "message"), PROFILE_FAULTS, ids=[case[0] for case in PROFILE_FAULTS])
def test_faults_of_a_profile(tmp_path: Path, profile: str, path: str, message: str) -> None:
    """What is wrong with a profile is named in its place, also where another one was asked for; no key is repeated."""
    (fault,) = faults(tmp_path, f"other: {profile}\nprod: {{kind: sandbox}}\n")
    assert fault.path == f"targets.other.{path}".rstrip(".")
    assert message in fault.message
    assert fault.line == 3


def test_all_profiles_are_judged_at_once(tmp_path: Path) -> None:
    """Faults of several profiles come together, in file order; built-in names keep their kinds."""
    found = faults(tmp_path, "sandbox: {kind: segment}\nb c: {kind: segment, rate: x}\nsegment: {kind: sandbox}\n")
    assert [(fault.line, fault.path) for fault in found] == [
        (3, "targets.sandbox.kind"),
        (4, "targets.b c"),
        (4, "targets.b c.rate"),
        (5, "targets.segment.kind"),
    ]


@pytest.mark.parametrize("profile", ["write_key: ${K}", "endpoint: http://${K}", "id_scope: a-${K}", "rate: ${K}"])
def test_a_missing_variable_is_named(tmp_path: Path, profile: str) -> None:
    """A variable that is not set is named, with the target that wants it."""
    with pytest.raises(UsageError, match=r"the target prod needs .*\bK\b.* not set"):
        load(tmp_path, f"prod:\n  kind: segment\n  {profile}\n")


def test_values_of_variables_are_judged(tmp_path: Path) -> None:
    """What a variable holds is held to the same rules as what is written."""
    text = "prod: {kind: segment, endpoint: '${E}', rate: '${R}'}"
    with pytest.raises(UsageError, match="plain http"):
        load(tmp_path, text, environ=ENVIRON | {"E": "http://x.example", "R": "5"})
    with pytest.raises(UsageError, match="no rate"):
        load(tmp_path, text, environ=ENVIRON | {"E": "x.example", "R": "soon"})
    insecure = text.replace("}'}", "}', insecure: true}")
    assert load(tmp_path, insecure, environ=ENVIRON | {"E": "http://x.example", "R": "5"}).insecure


def test_the_nearest_file_is_found(tmp_path: Path) -> None:
    """targets.yaml is looked for from a folder upward."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    outer_file = written(tmp_path, "prod: {kind: sandbox}")
    assert find_targets(inner) == outer_file
    assert find_targets(tmp_path / "a") == outer_file
    inner_file = written(inner, "prod: {kind: sandbox}")
    assert find_targets(inner) == inner_file


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
        with pytest.raises(UsageError, match="no rate"):
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
