"""Any database by the name of an ADBC driver that is installed: as a Python package, or by a manifest.

The name reaches the system's loader of libraries, so only a plain one is taken (see the job file's checks); manifests
are https://arrow.apache.org/adbc/current/format/driver_manifests.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from backfill.errors import SourceError, UsageError
from backfill.extras import how_to_install
from backfill.job.models import Job
from backfill.sources.databases.address import Address
from backfill.sources.databases.live import LiveDatabase, Session


class Driver(LiveDatabase):
    """One query of a database that a driver knows."""

    @contextmanager
    def connect(self, job: Job, address: Address, most: int | None) -> Iterator[Session]:
        """A session; raises as LiveDatabase.connect says."""
        from backfill.sources.databases.adbc import AdbcSession, connection, failure, quoted_table
        from backfill.sources.sql_tokens import without_end

        failed = failure(job, address)
        options = {"driver": library(address.driver), **address.options}
        if address.uri:
            options["uri"] = address.uri

        def not_opened(error: Exception) -> SourceError | UsageError:
            said = address.without_secrets(str(error).partition("\n")[0])
            if "NOT_FOUND" in said:
                hint = f"{how_to_install(address.driver)}, or install its manifest"
                return UsageError(f"the ADBC driver {address.driver} is not installed", hint=hint)
            return SourceError(f"{address.shown} cannot be connected to: {said}")

        query = without_end(job.source.query) if job.source.query else quoted_table(job.source.table or "")
        with connection(options, not_opened) as opened:
            session = AdbcSession(opened, query, failed, most)
            session.describe()
            yield session


def library(name: str) -> str:
    """What the driver manager loads: the library in the Python package of that name, else the name of a manifest."""
    if find_spec(name) is None:
        return name
    module = import_module(name)
    found = getattr(module, "_driver_path", None) or getattr(module, "driver_path", None)
    return str(found()) if found else name


ADBC = Driver("adbc")
