"""`ask` of targets.yaml: APIs that tell what a destination holds, and the tokens for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from backfill.document import is_one_variable, suggest, variables_in
from backfill.errors import UsageError
from backfill.frozen import frozen
from backfill.targets.endpoint import is_loopback
from backfill.targets.forms import AskForm
from backfill.targets.load import TARGETS_FILE, load_form
from backfill.targets.secret import Secret

#: Where the API is unless that is said; the variable of its token; and what has to be said of it.
_KINDS: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "segment": ("https://api.segmentapis.com", "SEGMENT_PUBLIC_API_TOKEN", ("source_id",)),
    "posthog": ("https://us.posthog.com", "POSTHOG_API_KEY", ("project",)),
    "sandbox": ("", "", ("endpoint",)),
}
_ONLY: Final = {"source_id": "segment", "project": "posthog", "message_id": "posthog"}
#: A column of PostHog's table of events, or a property in one.
_EXPRESSION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[$A-Za-z_][$A-Za-z0-9_]*)*")
_PATH_PART: Final = re.compile(r"[A-Za-z0-9_-]+")


@frozen
class AskTarget:
    """Something that can be asked."""

    name: str
    kind: str  # segment, posthog or sandbox
    endpoint: str  # without a slash at its end
    token: Secret | None
    source_id: str = ""
    project: str = ""
    message_id: str = ""  # of PostHog's events; empty: they do not have it


def load_asked(name: str, file: Path | None, environ: Mapping[str, str]) -> AskTarget:
    """What `ask` of targets.yaml has by that name.

    Raises:
        JobError: The file is wrong.
        UsageError: There is nothing of that name, something is not said or cannot be, or the token is missing.
    """
    known = load_form(file).ask if file is not None else {}
    if name not in known:
        there = f"there are: {', '.join(sorted(known))}" if known else f"{TARGETS_FILE} has no `ask` (docs/proof.md)"
        raise UsageError(f"there is nothing to ask by the name {name!r}", hint=suggest(name, known) or there)
    form = known[name]
    whose = f"{TARGETS_FILE}: ask.{name}"
    usual, variable, needed = _KINDS[form.kind]
    _check(form, whose, needed)
    endpoint = _endpoint(form.endpoint or usual, whose)
    return AskTarget(
        name=name,
        kind=form.kind,
        endpoint=endpoint,
        token=_token(form, whose, variable, environ),
        source_id=form.source_id or "",
        project=form.project or "",
        message_id=form.message_id or "",
    )


def _check(form: AskForm, whose: str, needed: tuple[str, ...]) -> None:
    for field in needed:
        if not getattr(form, field):
            raise UsageError(f"{whose} has no `{field}`", hint=f"kind {form.kind} needs it")
    for field, kind in _ONLY.items():
        value = getattr(form, field)
        if value is not None and form.kind != kind:
            raise UsageError(f"{whose}.{field} is for kind {kind}, this is {form.kind}")
        fits = _EXPRESSION if field == "message_id" else _PATH_PART
        if value and not fits.fullmatch(value):
            like = "uuid or properties.message_id" if field == "message_id" else "letters, digits, - and _"
            raise UsageError(f"{whose}.{field} cannot be that", hint=f"such as {like}")


def _endpoint(text: str, whose: str) -> str:
    """The URL; a token goes over https, or stays on this machine."""
    url = text if "://" in text else f"https://{text}"
    parts = urlsplit(url)
    host = parts.hostname or ""
    plain = parts.scheme == "http" and is_loopback(host)
    if not host or parts.username is not None or parts.query or not (parts.scheme == "https" or plain):
        raise UsageError(f"{whose}.endpoint is to be an https URL without user and query", hint="http on loopback only")
    return url.rstrip("/")


def _token(form: AskForm, whose: str, usual: str, environ: Mapping[str, str]) -> Secret | None:
    """The token; never shown, also where it is wrong."""
    if form.token is not None and not (isinstance(form.token, str) and is_one_variable(form.token)):
        raise UsageError(f"{whose}.token is to be a variable", hint="write ${NAME}: a token does not belong in a file")
    variable = variables_in(form.token)[0] if form.token is not None else usual
    if not variable:
        return None
    if variable not in environ:
        raise UsageError(f"{whose} needs a token: {variable} is not set", hint=f"export {variable}=...")
    token = environ[variable].strip()
    if not (token and token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(f"the variable {variable} holds no token", hint="a token is one word")
    return Secret(token)
