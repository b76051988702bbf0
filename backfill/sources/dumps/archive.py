"""An archive of pg_dump (custom, directory or tar format), as the script that pg_restore makes of it.

pg_restore of whoever runs this does the work: it knows every version of the archive, and its checksums. It is asked
twice: for all definitions, and for the rows of the tables that are wanted, each time through a pipe.
"""

from __future__ import annotations

import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from backfill.errors import SourceError
from backfill.records import SourceFile
from backfill.sources.dumps.definitions import Name
from backfill.sources.dumps.postgres import PostgresDump
from backfill.sources.origins.content import PIECE, POLL_SECONDS, Watch, origin_of, unwatched

MAGIC = b"PGDMP"
#: The file that tells what is in an archive of the directory format.
CONTENTS = "toc.dat"
_PATIENCE_SECONDS = 5


def open_archive(file: SourceFile, table: Name, watch: Watch = unwatched) -> PostgresDump:
    """The archive as a dump opened at its beginning.

    Raises:
        SourceError: pg_restore is not there, or cannot read the archive.
    """
    path = origin_of(file).local_path()
    place = path.parent if path.name == CONTENTS else path
    definitions = PostgresDump(_restored(file.name, place, ["--schema-only"], unwatched), file.name, table)
    definitions.columns()
    wanted = [option for schema, name in definitions.family() for option in (f"--schema={schema}", f"--table={name}")]
    parts = (_restored(file.name, place, options, watch) for options in (["--schema-only"], ["--data-only", *wanted]))
    return PostgresDump(chain.from_iterable(parts), file.name, table)


def _restored(name: str, place: Path, options: Sequence[str], watch: Watch) -> Iterator[bytes]:
    """What pg_restore writes; its process ends with this generator."""
    program = shutil.which("pg_restore")
    if program is None:
        raise SourceError(
            f"{name} is an archive of pg_dump, and there is no pg_restore to read it",
            hint="install PostgreSQL's client (Debian: postgresql-client), or name what `pg_restore -f` makes of it",
        )
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 (its name is ours, and a path follows)
            [program, "-f", "-", *options, str(place)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, process_group=0,
        )  # fmt: skip
        try:
            yield from _output(process, watch)
            status = process.wait()
        finally:
            _end(process)
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
    if status:
        reason = lines[-1].removeprefix("pg_restore: ") if lines else f"exit code {status}"
        hint = "a newer pg_restore may read it" if "version" in reason else "fetch or export the file again"
        raise SourceError(f"{name} cannot be read by pg_restore: {reason}", hint=hint)


def _output(process: subprocess.Popen[bytes], watch: Watch) -> Iterator[bytes]:
    assert process.stdout is not None
    with process.stdout as output:
        while True:
            while not select.select([output], [], [], POLL_SECONDS)[0]:
                watch(0)
            piece = output.read1(PIECE)  # type: ignore[attr-defined]
            if not piece:
                return
            watch(len(piece))
            yield piece


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
