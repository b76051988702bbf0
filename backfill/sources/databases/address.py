"""Which database a job means: its URL with the environment filled in, and the name that may be shown of it.

What is filled in may be a password, so an address is never printed: messages, logs and the ledger have `shown`, and
what a driver says goes through `without_secrets` first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from backfill.document import fill_in, is_one_variable, variables_in
from backfill.errors import JobError
from backfill.frozen import frozen
from backfill.job.formats import DATABASES, FORMATS, live_format
from backfill.job.models import DriverSpec, Job
from backfill.records import SourceFile

#: Parameters of a URL that tell who asks and how, not what is asked.
_NOT_SHOWN = re.compile(r"user|pass|pwd|token|secret|key|ssl|gss|timeout|keepalives|application", re.IGNORECASE)
_SHORTEST_SECRET = 4  # a shorter one is in any text
#: The scheme of a database that is named by its driver.
DRIVER_SCHEME = "adbc"


@frozen
class Address:
    """A database, and what is needed to connect to it."""

    driver: str  # the scheme of its URL, or the driver's own name
    shown: str  # without who asks, and without secrets
    uri: str = field(repr=False)
    options: Mapping[str, str] = field(repr=False, default_factory=dict)
    secrets: tuple[str, ...] = field(repr=False, default=())

    def without_secrets(self, text: str) -> str:
        """What a driver said, as it may be shown: on one line, whatever came of the environment left out."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "...")
        return " ".join(text.split())


def address_of(job: Job, environ: Mapping[str, str] = os.environ) -> Address:
    """The job's database.

    Raises:
        JobError: a variable that it names is not set, or what it holds is no URL.
    """
    written = job.source.database
    if isinstance(written, DriverSpec):
        return _of_driver(written, environ)
    url, secrets = url_of(job, environ), _secrets(written or "", environ)
    scheme, _, rest = url.partition("://")
    if not live_format(url):
        return Address(scheme, url, url, secrets=_worth_hiding(secrets))
    password = rest.rpartition("@")[0].partition(":")[2]
    secrets += [password, unquote(password), *re.split(r"[/#?@:&]", password)]  # a driver may take it to pieces
    secrets += [value for name, value in parse_qsl(rest.partition("?")[2]) if "pass" in name.lower()]
    return Address(scheme, _shown(url), url, secrets=_worth_hiding(secrets))


def url_of(job: Job, environ: Mapping[str, str] = os.environ) -> str:
    """The URL of a database that has one, its variables filled in; raises JobError as `address_of` does."""
    written = job.source.database
    return filled(written, "source.database", environ) if isinstance(written, str) else f"{DRIVER_SCHEME}://"


def filled(text: str, path: str, environ: Mapping[str, str]) -> str:
    """The text with its variables; those inside a URL are %-encoded. Raises JobError for one that is not set."""
    missing = [name for name in variables_in(text) if not environ.get(name)]
    if missing:
        raise JobError(f"{path}: the environment has no {missing[0]}", hint=f"set {missing[0]}, then run again")
    return fill_in(text, environ, str if is_one_variable(text) else _encoded)


def _encoded(value: str) -> str:
    return quote(value, safe="")


def _of_driver(spec: DriverSpec, environ: Mapping[str, str]) -> Address:
    options = {name: filled(value, f"source.database.options.{name}", environ) for name, value in spec.options.items()}
    uri = filled(spec.uri or "", "source.database.uri", environ)
    secrets = [secret for text in (spec.uri or "", *spec.options.values()) for secret in _secrets(text, environ)]
    bare = (spec.uri or "").rpartition("@")[2].partition("?")[0].partition("://")
    shown = f"{DRIVER_SCHEME}://{spec.driver}/{_VARIABLE.sub('', bare[2] or bare[0])}"
    return Address(spec.driver, shown.rstrip("/"), uri, options, _worth_hiding([*secrets, uri]))


_VARIABLE = re.compile(r"\$\{\w+\}")


def _secrets(text: str, environ: Mapping[str, str]) -> list[str]:
    """The values that variables brought, as they are and as they stand in a URL."""
    values = [environ[name] for name in variables_in(text)]
    return [*values, *map(_encoded, values)]


def _worth_hiding(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if len(text) >= _SHORTEST_SECRET))


def _shown(url: str) -> str:
    """The URL without login, and without parameters that tell nothing of the data; raises JobError where it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if not parts.scheme or parts.fragment or "@" in parts.path + parts.query:
        hint = "odd characters of a password are %-encoded: / as %2F, # as %23, @ as %40"
        raise JobError("source.database: what its variables hold makes no URL", hint=hint)
    host = parts.netloc.rpartition("@")[2]
    kept = [(name, value) for name, value in parse_qsl(parts.query) if not _NOT_SHOWN.search(name)]
    query = f"?{urlencode(kept)}" if kept else ""
    return f"{parts.scheme}://{host}{parts.path}{query}"


def scheme_of(job: Job) -> str:
    """The scheme of the job's database, its variables filled in; raises JobError as `address_of` does."""
    return url_of(job).partition("://")[0]


def is_live(job: Job) -> bool:
    """Whether the job reads a server, not a file; raises JobError as `address_of` does."""
    name = DATABASES.get(scheme_of(job)) if job.source.database is not None else None
    return name is not None and FORMATS[name].live


def live_source(job: Job) -> SourceFile:
    """The one source of a job over a live database: what is asked of which database is all that is known of it.

    Raises:
        JobError: as `address_of` does.
    """
    source, shown = job.source, address_of(job).shown
    asked = json.dumps([shown, source.query, source.table], ensure_ascii=False)
    return SourceFile(
        path=shown, name=shown, key=shown, bytes=0, sha256=hashlib.sha256(asked.encode()).hexdigest(),
        mtime_ns=0, ctime_ns=0, inode=0,
    )  # fmt: skip
