"""What a job file says of a database: which one, what is read of it, and that no secret stands in the file.

Passwords come from the environment, or from what a database's own clients read (.pgpass, service files). What may be
one is refused where it is written, and no message quotes it.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from backfill.document import VARIABLE_HINT, Faults, has_broken_variable, is_one_variable, suggest, variables_in
from backfill.job.file import SourceForm
from backfill.job.formats import DATABASES, FORMATS
from backfill.job.models import DriverSpec

_DRIVER: Final = re.compile(r"[a-z][a-z0-9_]*")  # it reaches the system's loader of libraries
_SECRET_NAME: Final = re.compile(
    r"pass|pwd|token|secret|credential|private|api_?key|access_?key|auth_?key", re.IGNORECASE
)
_PAIR: Final = re.compile(r"([\w.]+)\s*=\s*([^\s;&]*)")
_FROM_ENVIRONMENT: Final = "name a variable of the environment: ${SHOP_PASSWORD}"
#: Databases that no reader of ours knows, and the driver that reads them.
_BY_DRIVER: Final = {
    "snowflake": "adbc_driver_snowflake",
    "bigquery": "adbc_driver_bigquery",
    "mssql": "adbc_driver_mssql",
    "redshift": "adbc_driver_redshift",
    "clickhouse": "adbc_driver_clickhouse",
}


def check_database(faults: Faults, source: SourceForm) -> None:
    """Note databases that cannot be read, secrets, and what goes with files only."""
    if isinstance(source.database, DriverSpec):
        _check_driver(faults, source.database)
    elif source.database is not None:
        _check_url(faults, source.database)
    if source.query is None and source.table is None:
        faults.add(
            "source",
            "a database needs a `table` or a `query`",
            "add `table: orders` for all its rows, or `query: SELECT ... FROM ...` in its own SQL",
        )
    elif source.query is not None and source.table is not None:
        faults.add("source.table", "stands beside a `query`: one of the two is wanted", key=True)
    for name in ("files", "format", "members", "union"):
        if getattr(source, name):
            faults.add(f"source.{name}", "goes with `path`, not with `database`", key=True)
    _check_parts(faults, source)


def _check_parts(faults: Faults, source: SourceForm) -> None:
    """Note parts without a column, a column without parts, and databases that are not read in parts."""
    if (source.partition_on is None) != (source.partitions is None):
        name, other = ("partition_on", "partitions") if source.partitions is None else ("partitions", "partition_on")
        faults.add(f"source.{name}", f"goes with `{other}`", "for example `partition_on: id, partitions: 4`", key=True)
    scheme = source.database.partition("://")[0] if isinstance(source.database, str) else "driver"
    if source.partition_on is not None and DATABASES.get(scheme, scheme) != "postgresql" and "$" not in scheme:
        faults.add("source.partition_on", "only PostgreSQL is read in parts", "leave it out", key=True)


def _check_url(faults: Faults, url: str) -> None:
    if has_broken_variable(url):
        faults.add("source.database", "has a `${` that begins no variable", VARIABLE_HINT)
        return
    if is_one_variable(url):
        return
    scheme, separator, rest = url.partition("://")
    if not separator:
        faults.add(
            "source.database", "is not a database URL", "write it as sqlite:///shop.db or postgresql://host/shop"
        )
    elif scheme == "adbc":
        faults.add("source.database", "names no driver", "write `database: {driver: adbc_driver_x, uri: ...}`")
    elif scheme in _BY_DRIVER:
        hint = f"if its ADBC driver is installed: `database: {{driver: {_BY_DRIVER[scheme]}, uri: ...}}`"
        faults.add("source.database", f"{scheme} has no reader of its own", hint)
    elif scheme not in DATABASES:
        known = suggest(scheme, DATABASES) or f"there are: {', '.join(name for name in DATABASES if name != 'adbc')}"
        faults.add("source.database", f'there is no database "{scheme}"', known)
    elif FORMATS[DATABASES[scheme]].live:
        _check_live(faults, url)
    elif not rest.strip("/"):
        faults.add("source.database", "names no file", f"write it as {scheme}:///shop.db")
    elif not rest.startswith("/"):
        faults.add("source.database", "has a host, a file has none", f"write three slashes: {scheme}:///shop.db")


def _check_live(faults: Faults, url: str) -> None:
    if "$" not in url and not _is_url(url):
        faults.add("source.database", "is not a database URL", "a port is a number, and odd characters are %-encoded")
    _refuse_secrets(faults, url, "source.database", f"its client's own variable or file has it; or {_FROM_ENVIRONMENT}")


def _is_url(text: str) -> bool:
    """Whether it can be taken to pieces; libpq takes several hosts, with commas between them."""
    try:
        hosts = urlsplit(text).netloc.rpartition("@")[2].split(",")
        ports = [urlsplit(f"//{host}").port for host in hosts]
    except ValueError:
        return False
    return bool(ports)


def _check_driver(faults: Faults, spec: DriverSpec) -> None:
    if not _DRIVER.fullmatch(spec.driver):
        hint = "small letters, digits and underscores: adbc_driver_snowflake"
        faults.add("source.database.driver", "is not the name of a driver", hint)
    if spec.uri is not None:
        _refuse_secrets(faults, spec.uri, "source.database.uri", _FROM_ENVIRONMENT)
    for name, value in spec.options.items():
        path = f"source.database.options.{name}"
        if not isinstance(value, str):
            faults.add(path, "is not text", "quote it")
        elif has_broken_variable(value):
            faults.add(path, "has a `${` that begins no variable", VARIABLE_HINT)
        elif _SECRET_NAME.search(name) and not variables_in(value):
            faults.add(path, "may be a secret, which has no place in a job file", _FROM_ENVIRONMENT)
        else:
            _refuse_secrets(faults, value, path, _FROM_ENVIRONMENT)


def _refuse_secrets(faults: Faults, text: str, path: str, hint: str) -> None:
    """Note a password that is no variable."""
    if holds_password(text):
        faults.add(path, "holds a password, which has no place in a job file", hint)


def holds_password(text: str) -> bool:
    """Whether a URL has a password, before the host or among its parameters, that is no variable."""
    before, _, _ = text.partition("?")
    login = before.partition("://")[2] or before
    password = login.rpartition("@")[0].partition(":")[2]
    named = [value for name, value in _PAIR.findall(text) if _SECRET_NAME.search(name) and name.lower() != "passfile"]
    return any(value and not variables_in(value) for value in [password, *named])
