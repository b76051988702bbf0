"""A transaction over one query: its columns, and its rows as Arrow batches of what the server prints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from backfill.errors import JobError
from backfill.extras import required
from backfill.job.models import Job
from backfill.memory import BATCH_BYTES
from backfill.sources.databases.address import Address
from backfill.sources.databases.live import ResultColumn
from backfill.sources.databases.mysql.failures import Failures
from backfill.sources.mysql_types import UTC, VARIES, TableColumn, arrow_type, is_instant, read_as
from backfill.sources.sql_tokens import TEXT, tokens, without_end

#: https://dev.mysql.com/doc/refman/8.4/en/comments.html
_TOKENS = tokens(r"'(?:[^'\\]|\\.)*'", TEXT, r'"(?:[^"\\]|\\.)*"', "`[^`]*`", r"#[^\n]*", end=r"\*/")
#: A part of the name of a table: in quotes, or all up to the next dot.
_NAME_PART = re.compile(r'`((?:[^`]|``)+)`|"((?:[^"]|"")+)"|([^."`]+)')
#: The query in brackets, and where it begins in that.
_DESCRIBED: Final = "SELECT * FROM (\n"
#: Of a URL, beside host, port, login and database.
_PARAMETERS: Final = frozenset((
    "unix_socket", "ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity", "connect_timeout",
    "read_default_file",
))  # fmt: skip
_CONNECT_SECONDS: Final = 10
#: Rows of a batch at most; of columns that may hold more bytes than this, each value counts.
_MOST_ROWS: Final = 8_192
_WIDE_BYTES: Final = 1_024
#: A server gives up on who does not take its rows for so many seconds; while they are written, that may take a while.
_PATIENCE: Final = 3_600
#: By the number of the protocol (https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html): the type's
#: name, and the one for what is unsigned or holds bytes.
_TYPES: Final = {
    0: "decimal", 1: "tinyint", 2: "smallint", 3: "int", 4: "float", 5: "double", 7: "timestamp", 8: "bigint",
    9: "mediumint", 10: "date", 11: "time", 12: "datetime", 13: "year", 16: "bit", 242: "vector", 245: "json",
    246: "decimal", 247: "enum", 248: "set", 255: "geometry",
}  # fmt: skip
_UNSIGNED, _BINARY_CHARSET = 32, 63
_TEXTS: Final = {
    249: "tinyblob",
    250: "mediumblob",
    251: "longblob",
    252: "blob",
    253: "varbinary",
    254: "binary",
    15: "varbinary",
}
_NOT_FIXED = 31  # digits behind the point that the protocol says of numbers without a fixed number of them


Row = tuple[bytes | None, ...]


@contextmanager
def connected(job: Job, address: Address, most: int | None) -> Iterator[MysqlSession]:
    """A session in a transaction of its own; raises as LiveDatabase.connect says."""
    pymysql = required("pymysql", "mysql", "MySQL databases")
    failures = Failures(job, address)
    session = MysqlSession(pymysql, failures, job, most, arguments(address.uri))
    try:
        session.begin()
        yield session
    finally:
        session.close()


class MysqlSession:
    """A transaction over one query. Statements run in the thread that asks, rows in the one that takes them."""

    def __init__(
        self, pymysql: ModuleType, failures: Failures, job: Job, most: int | None, arguments: dict[str, Any]
    ) -> None:
        self._pymysql, self._failures, self._job, self._most = pymysql, failures, job, most
        self._arguments = arguments
        with failures.while_connecting(pymysql):
            self._connection = self._connect()
        self._query = query_of(job)
        self._found: list[TableColumn] = []
        self._lengths: list[int] = []
        self._reading = False
        self.columns: tuple[ResultColumn, ...] = ()

    def _connect(self) -> Any:  # noqa: ANN401
        """A connection whose values come as bytes; nothing is decoded."""
        conv = self._pymysql.converters.encoders.copy()
        return self._pymysql.connect(**self._arguments, charset="utf8mb4", use_unicode=False, conv=conv)

    def begin(self) -> None:
        """Make sure that nothing is written, and find out the columns."""
        with self._failures.while_asking(self._pymysql):
            self._run(f"SET time_zone = '+00:00', SESSION net_write_timeout = {_PATIENCE}")
            self._run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self._run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        with self._failures.while_asking(self._pymysql):
            fields = self._run(f"{_DESCRIBED}{self._query}\n) AS q LIMIT 0")
        self._found = [_column(field) for field in fields]
        self._lengths = [field.length for field in fields]
        self.columns = tuple(self._result(column) for column in self._found)

    def _result(self, column: TableColumn) -> ResultColumn:
        """The column as the snapshot takes it; a declared one is the text that the server prints."""
        declared = self._job.source.columns.get(column.name)
        instants, is_query = is_instant(column, declared), self._job.source.query is not None
        spec, kind = read_as(column, is_instant=instants), arrow_type(column)
        if column.type == "bit":
            return ResultColumn(column.name, pa.uint64(), str(column))
        if spec is not None or (declared is not None and kind != pa.binary()):
            spec = spec if instants or declared is None else None
            return ResultColumn(column.name, pa.string(), str(column), spec)
        refused = ""
        if column.type == "float" and is_query:
            name = "`" + column.name.replace("`", "``") + "`"
            refused = f"FLOAT, of which the server prints 6 digits (write {name} + 0e0 AS {name} in the query)"
        return ResultColumn(column.name, kind, str(column), refused=refused)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows; raises as Session.batches says."""
        self._reading = True
        with self._failures.while_reading(self._pymysql):
            cursor = self._connection.cursor(self._pymysql.cursors.SSCursor)
            if self._most is not None:
                self._run(f"SET sql_select_limit = {self._most}")
            cursor.execute(self._statement())
            rows = iter(cursor.fetchone, None)
            for some in self._together(rows if self._most is None else islice(rows, self._most)):
                yield self._batch(some)
        self._reading = self._most is not None  # of a sample, rows may be left

    def _together(self, rows: Iterator[Row]) -> Iterator[list[Row]]:
        """The rows, as many together as hold about BATCH_BYTES: row by row, as each is a packet of its own."""
        wide = [place for place, length in enumerate(self._lengths) if length > _WIDE_BYTES]
        narrow = sum(length for length in self._lengths if length <= _WIDE_BYTES)
        most = max(min(BATCH_BYTES // max(narrow, 1), _MOST_ROWS), 1)
        held, size = list[Row](), 0
        for row in rows:
            held.append(row)
            size += sum(len(row[place] or b"") for place in wide)
            if len(held) >= most or size >= BATCH_BYTES:
                yield held
                held, size = [], 0
        if held:
            yield held

    def _statement(self) -> str:
        """The query as it stands; of a table, FLOAT by a sum, whose type prints all its digits."""
        if self._job.source.query is not None:
            return self._query
        names = [("`" + column.name.replace("`", "``") + "`", column.type) for column in self._found]
        values = (f"{name} + 0e0 AS {name}" if kind == "float" else name for name, kind in names)
        return f"SELECT {', '.join(values)} FROM {_table(self._job)}"

    def _batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        arrays = []
        for values, column, result in zip(zip(*rows, strict=True), self._found, self.columns, strict=True):
            raw = pa.array(values, pa.binary())
            arrays.append(_typed(raw, column, result))
        return pa.RecordBatch.from_arrays(arrays, [column.name for column in self.columns])

    def cancel(self) -> None:
        """End the query at the server, by a connection of its own."""
        with suppress(Exception):  # it has ended by itself, or its server is gone
            other = self._connect()
            with suppress(Exception):
                other.cursor().execute(f"KILL QUERY {self._connection.thread_id()}")
            other.close()

    def close(self) -> None:
        """End the transaction; a query that is not at its end is left to the server, which sees that nobody listens."""
        with suppress(Exception):
            if self._reading:  # to close it in order would read the rest of the rows
                self._connection._result.unbuffered_active = False  # noqa: SLF001
                self._connection._force_close()  # noqa: SLF001
            else:
                self._connection.close()

    def _run(self, statement: str) -> Sequence[Any]:
        """Run a statement; returns the fields of its result."""
        cursor = self._connection.cursor()
        cursor.execute(statement)
        result = cursor._result  # noqa: SLF001 (the description lacks signs and character sets)
        return getattr(result, "fields", None) or ()


def _column(field: Any) -> TableColumn:  # noqa: ANN401
    """A column by what the protocol says of it."""
    name, kind = field.name.decode() if isinstance(field.name, bytes) else field.name, field.type_code
    is_bytes = field.charsetnr == _BINARY_CHARSET and field.length > 0  # a bare NULL has no length
    arguments: tuple[str, ...] = ()
    known = _TYPES.get(kind) or (_TEXTS.get(kind, "text") if is_bytes else "text")
    if known == "decimal":
        signs = int(not field.flags & _UNSIGNED) + int(field.scale > 0)
        arguments = (str(field.length - signs), str(field.scale))
    elif known in ("datetime", "timestamp"):
        arguments = (str(field.scale) if field.scale < _NOT_FIXED else VARIES,)
    return TableColumn(name, known, arguments, unsigned=bool(field.flags & _UNSIGNED), is_json=known == "json")


def _typed(raw: pa.BinaryArray, column: TableColumn, result: ResultColumn) -> pa.Array:
    """The server's text as values of the result's type."""
    if column.type == "bit":
        found = raw.dictionary_encode()
        numbers = [int.from_bytes(value, "big") for value in found.dictionary.to_pylist()]
        return pa.array(numbers, pa.uint64()).take(found.indices)
    if result.type == pa.binary():
        return raw
    text = raw.view(pa.string())
    if result.type != pa.string():
        return text.cast(result.type)
    is_utc = column.type == "timestamp" and result.spec is not None
    return pc.binary_join_element_wise(text, UTC, "") if is_utc else text


def query_of(job: Job) -> str:
    """The job's query, or that for all rows of its table, without what it ends with and means nothing."""
    if job.source.query is not None:
        return without_end(job.source.query, _TOKENS)
    return f"SELECT * FROM {_table(job)}"


def _table(job: Job) -> str:
    parts = ["".join(found) for found in _NAME_PART.findall(job.source.table or "")]
    return ".".join("`" + part.replace("``", "`").replace("`", "``") + "`" for part in parts)


def arguments(url: str) -> dict[str, Any]:
    """What pymysql is to be told of a URL; what it does not say comes of MYSQL_PWD and ~/.my.cnf.

    Raises:
        JobError: it has a parameter that is not known.
    """
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(given.keys() - _PARAMETERS)
    if unknown:
        raise JobError(
            f"source.database: there is no parameter {unknown[0]} of MySQL's URLs",
            hint=f"there are: {', '.join(sorted(_PARAMETERS))}",
        )
    found: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS, "program_name": "backfill", **given}
    found["connect_timeout"] = int(found["connect_timeout"])
    for name in ("ssl_verify_cert", "ssl_verify_identity"):
        if name in given:
            found[name] = given[name].lower() in ("1", "true", "yes")
    own = Path("~/.my.cnf").expanduser()
    if own.is_file():
        found.setdefault("read_default_file", str(own))
    names = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
    found |= {name: unquote(value) if isinstance(value, str) else value for name, value in names.items() if value}
    if "password" not in found and os.environ.get("MYSQL_PWD"):
        found["password"] = os.environ["MYSQL_PWD"]
    if parts.path.strip("/"):
        found["database"] = unquote(parts.path.strip("/"))
    return found
