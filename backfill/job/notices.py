"""What is sound in a job and still looks like a slip. Said by `check`, `preview`, `dry-run` and `run` alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from backfill.document import Positions
from backfill.errors import Fault
from backfill.job.models import ConstantValue, Job, ListValue, ObjectValue
from backfill.job.tracked import tracking_slips
from backfill.records import INTERNAL_PREFIX, Column


def notices(job: Job, columns: Sequence[Column], positions: Positions) -> list[Fault]:
    """What somebody should look at, in file order; `columns` are those of the source, as far as they are known."""
    names = {column.name for column in columns if not column.name.startswith(INTERNAL_PREFIX)}
    found = []
    for place, call in enumerate(job.calls):
        path = f"calls[{place}]"
        if call.integrations is None:
            message = "`integrations` is not stated: a live run refuses that (`{All: false}`: to no destination)"
            found.append(positions.fault(path, message))  # one line: it stands before every rehearsal
        for inside, text in literals(call.integrations, f"{path}.integrations"):
            if text in names:
                message = f'sends the text "{text}" with every call, and there is a column of that name'
                found.append(positions.fault(inside, message, f"{{column: {text}}} takes the value from the row"))
    slips = tracking_slips(job, columns)
    found += [positions.fault(slip.path, slip.message, slip.hint, key=slip.is_key) for slip in slips]
    return sorted(dict.fromkeys(found), key=lambda fault: (fault.line, fault.column))


def literals(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Every literal text among integrations, with the path of its field."""
    if isinstance(value, ConstantValue):
        value = value.value
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from literals(inner, f"{path}.{name}")
    elif isinstance(value, ObjectValue):
        for member, inner in value.object.members:
            yield from literals(inner, f"{path}.{member[0]}")
    elif isinstance(value, list | ListValue):
        for place, inner in enumerate(value if isinstance(value, list) else value.list):
            yield from literals(inner, f"{path}[{place}]")
