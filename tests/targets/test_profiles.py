"""Profiles of targets.yaml: what they say, what they leave out, and every fault in its place."""

from pathlib import Path

import pytest

from backfill.errors import UsageError
from backfill.limits import SEGMENT, Limits
from backfill.targets import (
    AnswerFormat,
    AuthScheme,
    Secret,
    TargetKind,
    find_targets,
    load_target,
)
from backfill.targets.forms import parse_duration
from tests.support.target_files import ENVIRON, KEY, faults, load, written


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
    assert (target.auth, target.auth_header, target.answers) == (AuthScheme.BEARER, "X-Write-Key", AnswerFormat.JITSU)
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
        ("segment", 86_400, AnswerFormat.SUCCESS),
        ("sandbox", 86_400, AnswerFormat.SUCCESS),
        ("rudderstack", 0, AnswerFormat.OK),
        ("compatible", 0, AnswerFormat.STATUS),
    ],
)
def test_what_a_kind_remembers_and_answers(tmp_path: Path, kind: str, window: float, answers: AnswerFormat) -> None:
    """Only of Segment it is documented that it drops repeated ids; of others the profile has to say so."""
    place = "" if kind in ("segment", "sandbox") else ", endpoint: x.example, write_key: '${SEGMENT_WRITE_KEY}'"
    target = load(tmp_path, f"there: {{kind: {kind}{place}}}", "there")
    assert (target.dedup_window, target.answers, target.auth) == (window, answers, AuthScheme.BASIC)


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
    (f"{{kind: segment, write_key: {KEY}}}", "write_key", "is not a ${NAME}"),
    ("{kind: segment, write_key: 12345}", "write_key", "is not a ${NAME}"),
    ("{kind: segment, write_key: 00123}", "write_key", "is not a ${NAME}"),
    (f"{{kind: segment, write_key: '{KEY}${{K}}'}}", "write_key", "is not a ${NAME}"),
    ("{kind: segment, write_key: '${K}', write_key_file: x}", "write_key_file", "instead of"),
    ("{kind: segment, rate: fast}", "rate", "not a valid rate"),
    ("{kind: segment, rate: 0}", "rate", "not a valid rate"),
    ("{kind: segment, rate: true}", "rate", "not a valid rate"),
    ("{kind: segment, requests: 0/s}", "requests", "not a valid rate"),
    ("{kind: segment, requests: [5]}", "requests", "not a valid rate"),
    ("{kind: segment, id_scope: '  '}", "id_scope", "is empty"),
    ("{kind: segment, id_scope: '${A:-b}'}", "id_scope", "no variable"),
    ("{kind: segment, limits: {batch_calls: 2501}}", "limits.batch_calls", "above Segment's own 2,500"),
    ("{kind: segment, limits: {batch_calls: 0}}", "limits.batch_calls", "at least 1"),
    ("{kind: segment, limits: {body_bytes: 20000}}", "limits", "larger than a body"),
    ("{kind: rudderstack, endpoint: x.example, write_key: '${K}', limits: {call_bytes: 4000001}}", "limits", "a body"),
    ("{kind: segment, auth: bearer}", "auth", "not to be chosen"),
    ("{kind: segment, auth_header: X-Write-Key}", "auth_header", "not to be chosen"),
    ("{kind: compatible, endpoint: x.example, write_key: '${K}', auth: digest}", "auth", "basic or bearer or plain"),
    (
        "{kind: compatible, endpoint: x.example, write_key: '${K}', auth_header: 'a b'}",
        "auth_header",
        "not a valid header",
    ),
    ("{kind: compatible, endpoint: x.example, write_key: '${K}', auth_header: Host}", "auth_header", "set by backfill"),
    (
        "{kind: compatible, endpoint: x.example, write_key: '${K}', auth_header: X-K, headers: {x-k: '1'}}",
        "headers",
        "carries the write key",
    ),
    ("{kind: segment, dedup_window: 25h}", "dedup_window", "longer than the 24 h"),
    ("{kind: segment, dedup_window: 24}", "dedup_window", "not a valid duration"),
    ("{kind: segment, dedup_window: soon}", "dedup_window", "not a valid duration"),
    ("{kind: segment, dedup_window: '${A:-1}h'}", "dedup_window", "no variable"),
    ("{kind: segment, answers: jitsu}", "answers", "no single calls"),
    ("{kind: compatible, endpoint: x.example, write_key: '${K}', answers: xml}", "answers", "jitsu"),
    ("{kind: segment, headers: {Authorization: x}}", "headers.Authorization", "set by backfill"),
    ("{kind: segment, headers: {'a b': x}}", "headers.a b", "not a valid header"),
    ('{kind: segment, headers: {A: "x\\ny"}}', "headers.A", "not a valid header"),
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
    with pytest.raises(UsageError, match="not a valid rate"):
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
