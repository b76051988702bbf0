"""A MariaDB server for tests: on loopback and a Unix socket, in a folder of its own, gone when it is closed."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.servers import DatabaseServer, running

_PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump")
_OPTIONS = (
    "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0", "--skip-log-bin", "--performance-schema=OFF", "--skip-name-resolve",
    "--bind-address=127.0.0.1", "--max-allowed-packet=256M", "--character-set-server=utf8mb4", "--sql-mode=",
    "--default-time-zone=-05:00",  # not what reading it depends on
)  # fmt: skip
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"  # where Debian has the server
#: Who has to give a password over TCP.
USER, PASSWORD = "asks", "s3cret pass"


class MariaDb(DatabaseServer):
    """A running server."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        super().__init__(folder)
        self.socket, self.options = folder / "s.sock", (*_OPTIONS, *options)

    def make(self) -> None:
        """Make the files of the server, once."""
        self._run(
            "mariadb-install-db", "--no-defaults", f"--datadir={self.folder / 'data'}", "--skip-test-db",
            "--auth-root-authentication-method=normal", "--skip-name-resolve", f"--user={getpass.getuser()}",
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            _found("mariadbd"), "--no-defaults", f"--datadir={self.folder / 'data'}", f"--socket={self.socket}",
            f"--port={self.port}", f"--pid-file={self.folder / 'pid'}", f"--user={getpass.getuser()}", *self.options,
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment()
            )
        self.wait(lambda: self._client("SELECT 1").returncode == 0)
        self.sql(f"CREATE USER IF NOT EXISTS {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
        self.sql(f"GRANT SELECT ON *.* TO {USER}@'127.0.0.1'")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """Stop it: SIGTERM in order, SIGKILL as a crash would."""
        super().stop(sign)

    def sql(self, text: str, database: str = "") -> str:
        """Run statements by the server's own client; returns what it prints: tabs, no headers."""
        done = self._client(text, *([database] if database else []))
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def new_database(self, text: str = "", options: str = "CHARACTER SET utf8mb4") -> str:
        """As of all servers, for texts of every script."""
        return super().new_database(text, options)

    def dump(self, *arguments: str) -> bytes:
        """What mariadb-dump writes with these arguments."""
        return self._run("mariadb-dump", "--no-defaults", f"--socket={self.socket}", "--user=root", *arguments)

    def load(self, dump: bytes, database: str = "") -> None:
        """Load a dump."""
        done = self._client(dump, "--binary-mode", *([database] if database else []))
        assert done.returncode == 0, done.stderr.decode()

    def _client(self, text: str | bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [
                _found("mariadb"), "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch", "-N",
                "--default-character-set=utf8mb4", "--max-allowed-packet=256M", *arguments,
            ],
            input=text.encode() if isinstance(text, str) else text, capture_output=True, check=False,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        """With a folder for temporary files of its own: a server removes what it takes for its own there."""
        return {**os.environ, "TMPDIR": str(self.folder)}

    def _run(self, program: str, *arguments: str) -> bytes:
        done = subprocess.run(
            [_found(program), *arguments], capture_output=True, check=False, cwd=self.folder, env=self._environment()
        )
        assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
        return done.stdout


def _found(program: str) -> str:
    return shutil.which(program, path=_PATH) or program


@contextmanager
def running_mariadb(*options: str) -> Iterator[MariaDb]:
    """A new server, with these options beside the usual ones; skips the test where there is no MariaDB."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not here: install Debian's `mariadb-server-core` and `mariadb-client`")
    with running(partial(MariaDb, options=options), signal.SIGTERM) as server:
        yield server
