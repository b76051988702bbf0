"""Checks of a profile that need no environment. Every profile of the file is checked, also those not asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from backfill.document import VARIABLE_HINT, Faults, has_broken_variable, is_one_variable, variables_in
from backfill.errors import Fault, UsageError
from backfill.limits import SEGMENT
from backfill.targets.endpoint import Endpoint, EndpointError, parse_endpoint
from backfill.targets.forms import (
    DURATION_HINT,
    RATE_HINT,
    REQUESTS_HINT,
    ProfileForm,
    parse_duration,
    parse_rate,
)
from backfill.targets.target import DEFAULTS, TargetKind
from backfill.wire import members_bytes, members_json

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Field names of HTTP (RFC 9110, section 5.1) that a profile may set.
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS: Final = {"authorization", "host", "connection", "transfer-encoding", "user-agent", "x-retry-count"}
#: Members of a body that a profile cannot state: case aside, as some services read them.
_OWN_MEMBERS: Final = {"batch", "sentat", "writekey", "messageid"}
#: The most that the stated members may take as JSON: they are sent with every request.
_MEMBERS_BYTES: Final = 8_000
_KEY_HINT: Final = "write_key: ${SEGMENT_WRITE_KEY} names a variable; write_key_file: names a file of mode 0600"


def check_profile(faults: Faults, profile: ProfileForm, name: str, built_in: ProfileForm | None) -> None:
    """Note everything that is wrong with one profile."""
    path = f"targets.{name}"
    if not _NAME.fullmatch(name):
        faults.add(
            path, f'"{name[:60]}" is not a valid name of a target', "letters, digits, . _ and - are taken", key=True
        )
    if built_in is not None and built_in.kind != profile.kind:
        faults.add(f"{path}.kind", f'the name "{name}" belongs to the kind {built_in.kind}', "choose another name")
    check_variables(faults, profile, path)
    check_key(faults, profile, path)
    check_endpoint(faults, profile, path)
    check_rate(faults, profile, path)
    check_limits(faults, profile, path)
    check_headers(faults, profile, path)
    check_envelope(faults, profile, path)
    check_auth(faults, profile, path)
    check_window(faults, profile, path)
    check_answers(faults, profile, path)
    scope = profile.id_scope
    if scope is not None and (not scope.strip() or not scope.isprintable()):
        faults.add(f"{path}.id_scope", "is empty" if not scope.strip() else "has control characters")


def check_variables(faults: Faults, profile: ProfileForm, path: str) -> None:
    """Note every `${` that does not begin a `${NAME}`."""
    texts = {
        name: getattr(profile, name)
        for name in ("endpoint", "write_key_file", "id_scope", "rate", "requests", "dedup_window")
    }
    texts |= {f"headers.{name}": value for name, value in profile.headers.items()}
    for name, text in texts.items():
        if isinstance(text, str) and has_broken_variable(text):
            faults.add(f"{path}.{name}", "has a `${` that begins no variable", VARIABLE_HINT)


def check_key(faults: Faults, profile: ProfileForm, path: str) -> None:
    """Note keys that stand in the file themselves, and keys stated twice or not at all."""
    written, file = profile.write_key, profile.write_key_file
    if written is not None and not (isinstance(written, str) and is_one_variable(written)):
        faults.add(f"{path}.write_key", "a write key never stands in a file that is shared", _KEY_HINT)
    if written is not None and file is not None:
        faults.add(
            f"{path}.write_key_file", "goes instead of `write_key`, not with it", "keep one of the two", key=True
        )
    if written is None and file is None and profile.kind in ("rudderstack", "compatible"):
        # Segment's own variable is not taken for these: a key must not go to another company by default.
        faults.add(path, f"a {profile.kind} target needs `write_key` or `write_key_file`", _KEY_HINT)


def check_endpoint(faults: Faults, profile: ProfileForm, path: str) -> None:
    """Note endpoints that are not valid, are missing, or that this kind may not have."""
    inside = f"{path}.endpoint"
    if profile.region is not None and profile.kind != "segment":
        faults.add(f"{path}.region", "only Segment has regions here", "state the `endpoint`", key=True)
    if profile.endpoint is None:
        if profile.kind in ("rudderstack", "compatible") and not faults.is_broken(inside):
            faults.add(path, f"a {profile.kind} target needs an `endpoint`")
        return
    if profile.region is not None and profile.kind == "segment":
        faults.add(inside, "goes instead of `region`, not with it", "keep one of the two", key=True)
    if variables_in(profile.endpoint):
        return  # judged once its variables are filled in
    try:
        allowed_endpoint(profile, profile.endpoint)
    except EndpointError as error:
        faults.add(inside, error.message, error.hint)


def allowed_endpoint(profile: ProfileForm, text: str) -> Endpoint:
    """The endpoint that a text names, if this profile may have it.

    Raises:
        EndpointError: It names none, a sandbox beyond loopback, or plain http beyond loopback that was not asked for.
    """
    endpoint = parse_endpoint(text)
    if profile.kind == "sandbox" and not endpoint.loopback:
        raise EndpointError("is not on loopback, where a sandbox is", "use a target of another kind to send elsewhere")
    if endpoint.plain and not endpoint.loopback and not profile.insecure:
        hint = "use https; or say `insecure: true` in the target's profile: the write key and all data go in clear"
        raise EndpointError("is plain http beyond this machine", hint)
    return endpoint


def check_rate(faults: Faults, profile: ProfileForm, path: str) -> None:
    """Note rates that are not valid."""
    for name, hint in (("rate", RATE_HINT), ("requests", REQUESTS_HINT)):
        rate = getattr(profile, name)
        if rate is None or (isinstance(rate, str) and variables_in(rate)):
            continue
        try:
            parse_rate(str(rate) if isinstance(rate, str | int | float) and not isinstance(rate, bool) else "")
        except UsageError:
            faults.add(f"{path}.{name}", "is not a valid rate", hint)


def check_limits(faults: Faults, profile: ProfileForm, path: str) -> None:
    """Note limits that do not fit together, and any beyond Segment's own where it is Segment."""
    for name, value in profile.limits.model_dump().items():
        most = getattr(SEGMENT, name)
        if value is not None and value > most and profile.kind in ("segment", "sandbox"):
            faults.add(f"{path}.limits.{name}", f"is above Segment's own {most:,}: more is refused or dropped")
    usual = DEFAULTS[TargetKind(profile.kind)].limits
    room = profile.limits.body_bytes or usual.body_bytes
    with suppress(ValueError, TypeError):  # noted by check_envelope
        room -= members_bytes(members_json(profile.envelope))
    if (profile.limits.call_bytes or usual.call_bytes) > room:
        faults.add(f"{path}.limits", "a call may be larger than a body", "raise `body_bytes` or lower `call_bytes`")


def check_headers(faults: Faults, profile: ProfileForm, path: str) -> None:
    """Note headers that HTTP does not have or that backfill sets itself."""
    for name, value in profile.headers.items():
        inside = f"{path}.headers.{name}"
        if not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            faults.add(inside, "is not a valid header", "one line of ASCII", key=True)
        elif _is_ours(name):
            faults.add(inside, "is set by backfill", "remove it", key=True)


def check_envelope(faults: Faults, profile: ProfileForm, path: str) -> None:
    """Note members of a body that backfill writes itself, that JSON does not have, or that are too large."""
    inside = f"{path}.envelope"
    for name in profile.envelope:
        if name.casefold() in _OWN_MEMBERS:
            hint = "backfill writes the batch, its ids and times; keys go in headers"
            faults.add(f"{inside}.{name}", "is not for a profile to say", hint, key=True)
            return
    try:
        text = members_json(profile.envelope)
    except (ValueError, TypeError):
        hint = "texts, finite numbers, true, false, null, lists and objects"
        faults.add(inside, "holds a value that JSON does not have", hint)
        return
    if "${" in text:
        hint = "it is a constant, and shown before a live run"
        faults.add(inside, "holds a ${...}: variables are not filled in here", hint)
    elif len(text.encode()) > _MEMBERS_BYTES:
        faults.add(inside, f"is larger than {_MEMBERS_BYTES:,} bytes", "it is sent with every request")


def check_auth(faults: Faults, profile: ProfileForm, path: str) -> None:
    """Note headers that cannot carry a key, and any other way than Basic where it is Segment."""
    name = profile.auth_header
    if profile.kind in ("segment", "sandbox") and (profile.auth != "basic" or name != "Authorization"):
        field = "auth" if profile.auth != "basic" else "auth_header"
        faults.add(f"{path}.{field}", "is not to be chosen for Segment", "Basic authentication is what it takes")
        return
    inside = f"{path}.auth_header"
    if not _HEADER.fullmatch(name):
        faults.add(inside, "is not a valid header", "such as Authorization or X-Write-Key")
    elif _is_ours(name):
        if name.casefold() != "authorization":
            faults.add(inside, "is set by backfill", "such as Authorization or X-Write-Key")
    elif name.casefold() in {header.casefold() for header in profile.headers}:
        faults.add(f"{path}.headers", f"also states {name}, which carries the write key", "remove it there")


def check_window(faults: Faults, profile: ProfileForm, path: str) -> None:
    """Note windows that are not valid, and any longer than Segment's own where it is Segment."""
    window = profile.dedup_window
    if window is None or (isinstance(window, str) and "${" in window):
        return
    try:
        seconds = parse_duration(window if isinstance(window, str) else "")
    except UsageError:
        faults.add(f"{path}.dedup_window", "is not a valid duration", DURATION_HINT)
        return
    usual = DEFAULTS[TargetKind(profile.kind)].dedup_window
    if profile.kind in ("segment", "sandbox") and seconds > usual:
        faults.add(f"{path}.dedup_window", "is longer than the 24 h for which Segment remembers ids")


def check_answers(faults: Faults, profile: ProfileForm, path: str) -> None:
    """Note per-call answers expected of services that give none."""
    if profile.answers not in (None, "status") and profile.kind != "compatible":
        faults.add(f"{path}.answers", f"{profile.kind} names no single calls in its answers", "leave it out", key=True)


def _is_ours(name: str) -> bool:
    return name.casefold() in _OWN_HEADERS or name.casefold().startswith("content-")


def without_keys(faults: Sequence[Fault]) -> list[Fault]:
    """The faults with nothing in them that may have been a write key."""
    return [
        replace(fault, message="is not a ${NAME}", hint=_KEY_HINT) if fault.path.endswith(".write_key") else fault
        for fault in faults
    ]
