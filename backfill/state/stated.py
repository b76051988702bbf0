"""Where a project keeps its runs, as `--state`, the environment or targets.yaml has it: a folder, or a database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from backfill.errors import UsageError
from backfill.state.place import TARGETS_FILE

VARIABLE = "BACKFILL_STATE"
SCHEMES = ("postgresql", "postgres")
#: A URL; or what is meant as one of a database, and no folder: one without its slashes, or libpq's `host=...`.
_URL = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://|postgres(ql)?:|(host|hostaddr|port|dbname|user|password|service)\s*=", re.IGNORECASE
)
#: Behind the name of a host, outside of [...]: what is no port may be a password that is not written as URLs have it.
_NO_PORT = re.compile(r":(?!\d*(,|$))")
_SECRETS = ("password", "sslpassword")
_STATED = re.compile(r"^['\"]?state['\"]?\s*:", re.MULTILINE)


def is_url(text: str) -> bool:
    """Whether it is meant as a URL, not as a folder."""
    return _URL.match(text) is not None


def checked_database(url: str, whose: str) -> str:
    """The URL of a database for runs; `whose` it is begins messages, which never show it.

    Raises:
        UsageError: It is of something else, or holds a password.
    """
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        raise UsageError(f"{whose}: it is not a valid URL", hint="give postgresql://HOST/DATABASE")
    if scheme not in SCHEMES:
        raise UsageError(f"{whose}: runs cannot be kept at {scheme}://", hint="give postgresql://HOST/DATABASE")
    if _has_password(rest):
        raise UsageError(
            f"{whose}: a password is not taken from there, where others may read it",
            hint="leave it out, and put it into PGPASSWORD, ~/.pgpass or a service file",
        )
    return url


def _has_password(rest: str) -> bool:
    """Whether there is a password behind the `://` of a URL, or what may be one: `/`, `?` and `#` in it end no URL."""
    place, _, query = rest.partition("?")
    user, _, hosts = place.rpartition("@")
    hosts = re.sub(r"\[[^\]]*\]", "", hosts.partition("/")[0])
    named = {name.lower() for name, _ in parse_qsl(query, keep_blank_values=True)}
    return ":" in unquote(user) or _NO_PORT.search(unquote(hosts)) is not None or not named.isdisjoint(_SECRETS)


def named_place(
    said: str | None, start: Path, targets_file: Path | None, environ: Mapping[str, str]
) -> tuple[Path | None, str | None]:
    """The folder and the database that somebody names, else the environment, else targets.yaml (`stated_place`).

    None for what nobody names.

    Raises:
        JobError: The targets file is wrong.
        UsageError: The URL is refused.
    """
    place = said or environ.get(VARIABLE) or stated_place(start, targets_file, environ)
    if place is None:
        return None, None
    return (None, checked_database(place, "the state's URL")) if is_url(place) else (Path(place), None)


def stated_place(start: Path, targets_file: Path | None, environ: Mapping[str, str]) -> str | None:
    """What `state` in that targets file says, else in the nearest above `start`; None where it says nothing.

    A folder is told as an absolute path.

    Raises:
        JobError: The file is wrong.
        UsageError: A variable is not set, or the URL is refused.
    """
    folder = start.absolute()
    near = (file for above in (folder, *folder.parents) if (file := above / TARGETS_FILE).is_file())
    targets_file = targets_file or next(near, None)
    if targets_file is None or not _STATED.search(targets_file.read_text("utf-8", errors="replace")):
        return None  # most have none, and need not be read to know
    from backfill.document import fill_in, variables_in  # noqa: PLC0415 (for files that say it)
    from backfill.targets.load import load_form  # noqa: PLC0415 (as above)

    text = load_form(targets_file).state
    if text is None:
        return None
    if missing := [name for name in variables_in(text) if name not in environ]:
        raise UsageError(f"`state` in {targets_file} needs the variable {missing[0]}", hint=f"export {missing[0]}=...")
    place = fill_in(text, environ)
    whose = f"`state` in {targets_file}"
    return checked_database(place, whose) if is_url(place) else str(targets_file.parent.absolute() / place)
