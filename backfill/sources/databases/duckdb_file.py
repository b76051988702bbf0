"""DuckDB files: a query in DuckDB's own SQL, by its ADBC driver, over a file that is opened for reading only.

Types that come as they are stay; the others are asked for as text that is read by the grammar of their kind. The query
reaches no other file (`enable_external_access`). It runs once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backfill.disk import TEMPORARY_FOLDERS
from backfill.errors import SourceError
from backfill.job.models import ColumnSpec, Job
from backfill.sources.databases.address import Address
from backfill.sources.databases.live import LiveDatabase, Session

if TYPE_CHECKING:
    from backfill.sources.databases.adbc import AdbcSession

#: Of its memory, beside what staging has.
_SETTINGS: Final = {"access_mode": "READ_ONLY", "enable_external_access": "false", "memory_limit": "256MB"}
#: Types that Arrow has not, and what their text is read as.
_AS_TEXT: Final = {
    "HUGEINT": ColumnSpec(type="integer"),
    "UHUGEINT": ColumnSpec(type="integer"),
    "BIGNUM": ColumnSpec(type="integer"),
    "JSON": ColumnSpec(type="json"),
    "TIME WITH TIME ZONE": None,
    "UUID": None,
    "BIT": None,
}
#: Types without a form in JSON, and the cast that gives one; {0} is the column.
_REFUSED: Final = {"BLOB": "base64({0}) AS {0}", "INTERVAL": "{0}::VARCHAR AS {0}"}
#: Types that Arrow has not, inside of others.
_INSIDE: Final = re.compile(r"\b(U?HUGEINT|BIGNUM|TIME WITH TIME ZONE|BIT|BLOB|INTERVAL|UNION|VARIANT|GEOMETRY)\b")


class DuckdbFile(LiveDatabase):
    """One query or table of one DuckDB file."""

    @contextmanager
    def connect(self, job: Job, address: Address, most: int | None) -> Iterator[Session]:
        """A session; raises as LiveDatabase.connect says."""
        from backfill.sources.databases.adbc import AdbcSession, connection, failure, quoted_table
        from backfill.sources.databases.driver import library
        from backfill.sources.files import database_path
        from backfill.sources.sql_tokens import without_end

        path = database_path(job)
        refuse_in_use(path)
        address = replace(address, shown=path.name)
        query = without_end(job.source.query) if job.source.query else quoted_table(job.source.table or "")
        with TEMPORARY_FOLDERS.opened() as spill:
            options = {"driver": library("adbc_driver_duckdb"), "entrypoint": "duckdb_adbc_init", **_SETTINGS}
            with connection(
                options | {"path": str(path), "temp_directory": str(spill)}, failure(job, address)
            ) as opened:
                session = AdbcSession(opened, query, failure(job, address), most)
                ask_types(session, query)
                yield session


def refuse_in_use(path: Path) -> None:
    """Raise SourceError where changes to the file stand beside it, as those are not in what was hashed."""
    log = path.with_name(path.name + ".wal")
    if log.exists() and log.stat().st_size:
        message = f"{path.name} is in use, or was not closed well: {log.name} holds changes"
        raise SourceError(message, hint="close the program that writes to it, or run CHECKPOINT there")


def ask_types(session: AdbcSession, query: str) -> None:
    """Find out the query's columns, and how to ask for each."""
    with session.stream("SET TimeZone = 'UTC'"):
        pass
    with session.stream(f"DESCRIBE SELECT * FROM (\n{query}\n) LIMIT 0") as reader:
        types = [(row["column_name"], row["column_type"]) for row in reader.read_all().to_pylist()]
    wanted = [_asked(kind, f"c{at}", name) for at, (name, kind) in enumerate(types)]
    names = ", ".join(f"c{at}" for at in range(len(types)))
    limit = "" if session.most is None else f" LIMIT {session.most}"
    expressions = ", ".join(f"{expression} AS c{at}" for at, (expression, _) in enumerate(wanted))
    select = f"SELECT {expressions} FROM (\n{query}\n) AS q({names})"
    session.query = f"{select} LIMIT 0"
    session.describe()
    session.query = select + limit
    session.columns = tuple(
        replace(made, name=name, said=kind, spec=_AS_TEXT.get(kind), refused=refused or made.refused)
        for made, (name, kind), (_, refused) in zip(session.columns, types, wanted, strict=True)
    )


def _asked(kind: str, column: str, name: str) -> tuple[str, str]:
    """The SQL expression for a column, and what it holds where that has no form in JSON, with the cast to write."""
    shown = '"' + name.replace('"', '""') + '"'
    if kind in _REFUSED:
        return "NULL::VARCHAR", f"{kind} (write {_REFUSED[kind].format(shown)} in the query)"
    if kind in _AS_TEXT:
        return f"{column}::VARCHAR", ""
    if _INSIDE.search(kind):
        return "NULL::VARCHAR", f"{kind} (write to_json({shown}) AS {shown} in the query)"
    return column, ""


DUCKDB = DuckdbFile("duckdb")
