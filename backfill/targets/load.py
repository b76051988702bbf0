"""Find `targets.yaml`, check all of it, and build one target of it and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from backfill.document import Faults, fill_in, read_document, suggest, validate, variables_in
from backfill.errors import UsageError
from backfill.frozen import frozen
from backfill.targets.checks import allowed_endpoint, check_profile, without_keys
from backfill.targets.endpoint import SEGMENT_REGIONS, Endpoint, EndpointError, region_of
from backfill.targets.forms import REQUESTS_HINT, ProfileForm, TargetsForm, parse_duration, parse_rate
from backfill.targets.secret import Secret, checked_key, key_of_file
from backfill.targets.target import DEFAULTS, AnswerFormat, AuthScheme, Target, TargetKind, default_scope
from backfill.wire import members_bytes, members_json

TARGETS_FILE: Final = "targets.yaml"
KEY_VARIABLE: Final = "SEGMENT_WRITE_KEY"
KIND: Final = "targets file"
#: Targets that exist without any file.
BUILT_IN: Final = {
    "sandbox": ProfileForm(kind="sandbox"),
    "segment": ProfileForm(kind="segment", region="us"),
    "segment-eu": ProfileForm(kind="segment", region="eu"),
}
#: What stands for parts of the file that cannot be read, so that the rest is checked.
_STAND_INS: dict[str, Any] = {"version": 1, "targets": {}}


def find_targets(start: Path) -> Path | None:
    """The nearest `targets.yaml` in that folder or above it, or None."""
    folder = start.resolve()
    return next((file for above in (folder, *folder.parents) if (file := above / TARGETS_FILE).is_file()), None)


def load_target(
    name: str,
    *,
    targets_file: Path | None,
    endpoint: str | None = None,
    environ: Mapping[str, str],
    need_key: bool = True,
) -> Target:
    """The target of that name, with its write key.

    Args:
        name: a profile of the file, or one of the built-in targets.
        targets_file: where profiles stand; None where there are none.
        endpoint: the command line's --endpoint, in place of the profile's.
        environ: where `${VAR}` and write keys are looked up.
        need_key: False for a dry run: a missing key leaves `write_key` None and, unless the profile states a scope,
            gives the ids of the sandbox.

    Raises:
        JobError: the file is wrong, in any of its profiles; carries every fault.
        UsageError: there is no such target, a variable or the key is missing, or the endpoint is not allowed.
    """
    profiles = dict(BUILT_IN)
    if targets_file is not None:
        profiles |= load_profiles(targets_file)
    if name not in profiles:
        known = f"there are: {', '.join(sorted(profiles))}"
        raise UsageError(f"there is no target {name!r}", hint=suggest(name, profiles) or known)
    return TargetBuilder(name, profiles[name], targets_file, environ).build(endpoint, need_key=need_key)


def load_profiles(path: Path) -> dict[str, ProfileForm]:
    """Every profile of the file, variables not yet filled in; raises JobError with all faults of all profiles."""
    return load_form(path).targets


def load_form(path: Path) -> TargetsForm:
    """The file as it is written; raises JobError with all its faults."""
    document = read_document(path, KIND)
    faults = Faults(document)
    form = validate(TargetsForm, faults, _STAND_INS)
    for name, profile in form.targets.items() if form else ():
        check_profile(faults, profile, name, BUILT_IN.get(name))
    if faults.found or form is None:
        raise document.refuse(KIND, without_keys(faults.found), full=faults.full)
    return form


@frozen
class TargetBuilder:
    """Builds one target: fills variables in, finds its write key, and takes what is not stated from its kind."""

    name: str
    profile: ProfileForm
    file: Path | None
    environ: Mapping[str, str]

    def build(self, override: str | None, *, need_key: bool) -> Target:
        """The target; `override` is the endpoint that the command line names.

        Raises:
            UsageError: a variable or the key is missing, or the endpoint is not allowed.
        """
        profile, kind = self.profile, TargetKind(self.profile.kind)
        endpoint = self.endpoint(override)
        key = self.key(need_key=need_key)
        scope = self.text(profile.id_scope) if profile.id_scope else ""
        if key is not None and key.reveal() in scope:
            raise UsageError(
                f"{self.whose} id_scope holds the write key", hint="any fixed name will do; it is stored in the clear"
            )
        written = {name: value for name, value in profile.limits.model_dump().items() if value is not None}
        usual, window = DEFAULTS[kind], profile.dedup_window
        envelope = members_json(profile.envelope)
        if key is not None and key.reveal() in envelope:
            raise UsageError(f"{self.whose} envelope holds the write key", hint="it is stored and shown in the clear")
        return Target(
            name=self.name,
            kind=kind,
            endpoint=endpoint.url if endpoint else "",
            batch_url=endpoint.batch_url if endpoint else "",
            region=region_of(endpoint.url) if endpoint else "",
            write_key=key,
            id_scope=scope or default_scope(kind, key),
            limits=replace(usual.limits, **written, envelope_bytes=members_bytes(envelope)),
            rate=usual.rate if profile.rate is None else parse_rate(self.text(str(profile.rate))),
            requests=None if profile.requests is None else parse_rate(self.text(str(profile.requests)), REQUESTS_HINT),
            gzip=usual.gzip if profile.gzip is None else profile.gzip,
            insecure=profile.insecure,
            envelope=envelope,
            headers=tuple((header, self.text(value)) for header, value in profile.headers.items()),
            auth=AuthScheme(profile.auth),
            auth_header=profile.auth_header,
            dedup_window=usual.dedup_window if window is None else parse_duration(self.text(str(window))),
            answers=usual.answers if profile.answers is None else AnswerFormat(profile.answers),
            key_origin=self.key_origin if key is not None else "",
        )

    def endpoint(self, override: str | None) -> Endpoint | None:
        """Where calls go; None for the sandbox inside the process."""
        profile = self.profile
        text = override if override is not None else self.text(profile.endpoint or "")
        if not text and override is None:
            if profile.kind != "segment":
                return None  # only a sandbox has none: see check_endpoint
            text = SEGMENT_REGIONS[profile.region or "us"]
        try:
            return allowed_endpoint(profile, text)
        except EndpointError as error:
            raise UsageError(f"{self.whose} endpoint {error.message}", hint=error.hint) from None

    def key(self, *, need_key: bool) -> Secret | None:
        """The write key; None where none is needed and none is there."""
        profile = self.profile
        if profile.kind == "sandbox" and not (profile.write_key or profile.write_key_file):
            return Secret("sandbox")
        if profile.write_key_file:
            file = self.key_file
            return key_of_file(file) if need_key or file.exists() else None
        variable = self.key_variable
        if variable in self.environ:
            return checked_key(self.environ[variable], f"the variable {variable}")
        if need_key:
            hint = f"export {variable}=... with the source's write key, or name a `write_key_file` in {TARGETS_FILE}"
            raise UsageError(f"the target {self.name} needs a write key: {variable} is not set", hint=hint)
        return None

    def text(self, value: str) -> str:
        """A profile's text with its variables filled in."""
        missing = [variable for variable in variables_in(value) if variable not in self.environ]
        if missing:
            hint = f"export {missing[0]}=..., or write the value into {self.file}"
            raise UsageError(f"the target {self.name} needs the variable {missing[0]}, which is not set", hint=hint)
        return fill_in(value, self.environ)

    @property
    def key_file(self) -> Path:
        """The file of `write_key_file`."""
        file = Path(self.text(self.profile.write_key_file or "")).expanduser()
        return self.file.parent / file if self.file else file

    @property
    def key_variable(self) -> str:
        """The variable that holds the key where no file does."""
        return variables_in(self.profile.write_key)[0] if self.profile.write_key else KEY_VARIABLE

    @property
    def key_origin(self) -> str:
        """Where the key stands, for people."""
        if self.profile.write_key_file:
            return f"the file {self.key_file}"
        stated = self.profile.write_key or self.profile.kind != "sandbox"
        return f"the variable {self.key_variable}" if stated else ""

    @property
    def whose(self) -> str:
        """The beginning of a message about one of its values."""
        return f"the target {self.name}'s"
