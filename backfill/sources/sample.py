"""The columns of an NDJSON source by a look at the beginning of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources import ndjson
from backfill.sources.checksum import plain_pieces
from backfill.sources.engine import Engine
from backfill.sources.layout import SourceColumn

#: Megabytes of each file that are looked at.
SAMPLE_PIECES = 4


def sampled_columns(engine: Engine, job: Job, files: Sequence[SourceFile], folder: Path) -> tuple[SourceColumn, ...]:
    """The columns of the first lines of every NDJSON file; `folder` takes the samples."""
    clauses = []
    for file in files:
        lines = b"".join(islice(plain_pieces(Path(file.path)), SAMPLE_PIECES)).splitlines()
        sample = folder / f"sample-{hashlib.sha256(file.path.encode()).hexdigest()}.ndjson"
        sample.write_bytes(b"\n".join(lines[:-1] or lines))
        clauses.append(ndjson.lines_clause(sample, "sampled_rejects"))
    keys = ndjson.collect_keys(engine, [ndjson.object_lines(clause) for clause in clauses])
    names = list(dict.fromkeys([*keys.names, *job.source.columns]))  # a declared key may come first after the sample
    parts = [f"({ndjson.split_select(clause, names, repeated=keys.repeated)})" for clause in clauses]
    return ndjson.source_columns(engine, job, names, parts)
