"""Points: where a process makes something durable, or speaks with the endpoint, or lets go of a file.

`install` wraps what the standard library, SQLite, DuckDB, polars and sockets do to files and the network, before any
of it is used. Each operation passes a point before it and one after it, named by what is done to which file and how
often it was done before, such as `fsync spool/000000.segment.tmp #1 before`. A first process writes the names down;
another one is told at which of them to act. Threads may take turns in another order: a name that is not met again
means an undisturbed process, never a wrong verdict.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Self

import duckdb
import polars as pl

#: Functions of `os` that change what is on the disk; the first argument names the file.
FILE_CALLS = ("fsync", "fdatasync", "replace", "rename", "link", "unlink", "remove", "rmdir", "mkdir", "chmod")
WRITE_CALLS = ("truncate", "ftruncate", "write", "pwrite", "sendfile")
SOCKET_CALLS = ("connect", "send", "recv")
#: Works on a full disk, too.
FREEING = ("unlink", "remove", "rmdir", "fsync", "chmod", "ftruncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
#: What can happen at a point: a signal to the process itself; waiting until a signal was `heard`, `fill` the disk, for
#: real; or from here on every change of a file fails as on a `full` disk or a `readonly` one, what SQLite, DuckDB and
#: polars do left out.
SIGNALS = {"kill": signal.SIGKILL, "int": signal.SIGINT, "term": signal.SIGTERM, "hup": signal.SIGHUP}
REFUSALS = {"full": errno.ENOSPC, "readonly": errno.EROFS}
#: Statements of SQLite and DuckDB that write.
SQL = re.compile(r"\s*(COMMIT|PRAGMA journal_mode|PRAGMA wal_checkpoint|COPY|INSERT|UPDATE)", re.IGNORECASE)
ODD = re.compile(r"[0-9a-f]{32}|\b[0-9a-f]{16}\b|[0-9a-f]{8}-[0-9a-f-]{27}|-[0-9a-f]{8}\b|(?<=crash-)[0-9T-]+")


@dataclass(frozen=True)
class Plan:
    """What is to happen in a process. All of it may be left out."""

    trace: str = ""  # the file that every point's name is written to
    at: str = ""  # the name of the point at which `act` happens
    act: str = ""  # words of SIGNALS and REFUSALS, `fill`, `heard`, one after the other
    below: str = ""  # the folder of which file names are told: points elsewhere do not count
    filler: str = ""  # fill: the file that takes what is left of the disk
    spare: int = 0  # fill: so many bytes are left


class Points:
    """The points of this process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.below = os.path.realpath(plan.below)
        self.met: Counter[str] = Counter()
        self.lock = threading.RLock()
        self.inside = threading.local()
        self.refusal = 0
        self.heard = threading.Event()  # a handler of the program's has run
        self.trace = os.open(plan.trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if plan.trace else None
        self.write = os.write  # as it is before it is wrapped
        self.kill = os.kill

    def name(self, what: object) -> str | None:
        """The file as the points name it; None where it is none of the program's."""
        try:
            path = held(what) if isinstance(what, int) else str(Path(os.fsdecode(what)).absolute())  # type: ignore[arg-type]
        except (OSError, TypeError, ValueError):
            return None
        if not path.startswith(self.below + os.sep) and path != self.below:
            return None
        return ODD.sub("*", os.path.relpath(path, self.below))

    def pass_by(self, what: str, side: str) -> None:
        """A thread is at a point."""
        if getattr(self.inside, "point", False):
            return
        self.inside.point = True
        try:
            with self.lock:
                self.met[what, side] += 1  # type: ignore[index]
                name = f"{what} #{self.met[what, side]} {side}"  # type: ignore[index]
                if self.trace is not None:
                    self.write(self.trace, f"{name}\n".encode())
                if name == self.plan.at:
                    self.act()
        finally:
            self.inside.point = False

    def act(self) -> None:
        """Make it happen."""
        for word in self.plan.act.split():
            if word in REFUSALS:
                self.refusal = REFUSALS[word]
            elif word == "fill":
                fill(Path(self.plan.filler), self.plan.spare)
            elif word == "heard":
                assert self.heard.wait(60), "no handler ran"
            else:
                self.kill(os.getpid(), SIGNALS[word])

    def refuse(self, what: str) -> None:
        """Raise what a disk raises that takes no more."""
        if not self.refusal or getattr(self.inside, "point", False):
            return
        if self.refusal == errno.EROFS or not what.startswith(FREEING):
            raise OSError(self.refusal, os.strerror(self.refusal))


def held(descriptor: int) -> str:
    """The path of an open file."""
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 (as quick as it can be)


def fill(filler: Path, spare: int) -> None:
    """Take all that is left of the disk, so many bytes aside."""
    with filler.open("ab", buffering=0) as file:
        free = os.statvfs(filler.parent)
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - spare))


def install(plan: Plan) -> Points:
    """Wrap everything; once in a process, before the program runs."""
    points = Points(plan)
    for call in FILE_CALLS + WRITE_CALLS:
        setattr(os, call, _around(points, call, getattr(os, call), points.name))
    for call in SOCKET_CALLS:
        setattr(socket.socket, call, _around(points, call, getattr(socket.socket, call), lambda _: "endpoint"))
    pl.DataFrame.write_parquet = _around(  # type: ignore[method-assign]
        points, "write_parquet", pl.DataFrame.write_parquet, points.name, named=1
    )
    _wrap_databases(points)
    _wrap_handlers(points)
    sys.addaudithook(lambda event, values: _opened(points, values) if event == "open" else None)
    return points


def _around(
    points: Points, call: str, real: Callable[..., Any], name: Callable[[Any], str | None], *, named: int = 0
) -> Callable[..., Any]:
    """The function with a point before and after it."""

    @wraps(real)
    def wrapped(*values: Any, **options: Any) -> Any:
        file = values[named]
        if options.get("dir_fd") is not None:  # shutil.rmtree names files in folders that it holds open
            file = f"{held(options['dir_fd'])}/{file}"
        found = name(file)
        if found is None or getattr(points.inside, "point", False):
            return real(*values, **options)
        what = f"{call} {found}"
        points.pass_by(what, "before")
        points.refuse(what) if found != "endpoint" else None
        result = real(*values, **options)
        points.pass_by(what, "after")
        return result

    return wrapped


def _opened(points: Points, values: tuple[Any, ...]) -> None:
    """A file is opened: a point, where it is to be written."""
    path, _, flags = values
    if isinstance(flags, int) and flags & WRITING and not getattr(points.inside, "point", False):
        found = points.name(path)
        if found is not None:
            points.pass_by(f"open {found}", "before")
            points.refuse("open")


def _wrap_handlers(points: Points) -> None:
    """A handler that has run is told."""
    real = signal.signal

    def install_handler(number: int, handler: Any) -> Any:
        def told(*values: Any) -> None:
            handler(*values)
            points.heard.set()

        return real(number, told if callable(handler) else handler)

    signal.signal = install_handler  # type: ignore[assignment]


def _wrap_databases(points: Points) -> None:
    """Statements that write are points."""

    class Connection(sqlite3.Connection):
        file = ""

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if not SQL.match(sql) or not self.file:
                return super().execute(sql, *values)
            what = f"{' '.join(sql.split()[:2])} {self.file}"
            points.pass_by(what, "before")
            result = super().execute(sql, *values)
            points.pass_by(what, "after")
            return result

        def executescript(self, sql: str) -> sqlite3.Cursor:
            what = f"script {self.file}"
            points.pass_by(what, "before") if self.file else None
            result = super().executescript(sql)
            points.pass_by(what, "after") if self.file else None
            return result

    real_sqlite, real_duckdb = sqlite3.connect, duckdb.connect

    def connect_sqlite(database: Any, *values: Any, **options: Any) -> sqlite3.Connection:
        connection = real_sqlite(database, *values, factory=Connection, **options)
        path = str(database).removeprefix("file:").partition("?")[0]
        connection.file = (points.name(path) or "") if "mode=ro" not in str(database) else ""
        return connection

    def connect_duckdb(*values: Any, **options: Any) -> Any:
        return _Engine(real_duckdb(*values, **options), points)

    sqlite3.connect = connect_sqlite  # type: ignore[assignment]
    duckdb.connect = connect_duckdb


class _Engine:
    """A DuckDB connection whose COPY is a point."""

    def __init__(self, real: duckdb.DuckDBPyConnection, points: Points) -> None:
        self.real = real
        self.points = points

    def execute(self, sql: str, *values: Any) -> Any:
        if not SQL.match(sql):
            return self.real.execute(sql, *values)
        what = f"duckdb {sql.split(maxsplit=1)[0]}"
        self.points.pass_by(what, "before")
        result = self.real.execute(sql, *values)
        self.points.pass_by(what, "after")
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.real.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)
