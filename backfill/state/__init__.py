"""Where runs keep what must outlive the process: a folder on this machine's disk, or a database and a folder."""

from __future__ import annotations

from pathlib import Path

from backfill.records import RunStore
from backfill.state.folder import StateFolder, may_be_of, run_id
from backfill.state.place import (
    BYTES_FOLDER,
    ensure_space,
    file_system_type,
    holds_state,
    refuse_network,
    state_folder_from,
    state_folder_of_job,
)
from backfill.state.shared_run import SpoolChoice

__all__ = [
    "SpoolChoice",
    "ensure_space",
    "file_system_type",
    "holds_state",
    "may_be_of",
    "open_store",
    "refuse_network",
    "run_id",
    "state_folder_from",
    "state_folder_of_job",
]


def open_store(
    place: Path,
    choice: SpoolChoice = SpoolChoice(),  # noqa: B008 (frozen)
    database: str | None = None,
) -> RunStore:
    """The runs that are kept there; touches nothing. The one place that knows which implementation keeps them.

    `choice` says where runs that begin keep their bytes; `database` is the URL of the one that has the ledgers, if that
    is not the folder.
    """
    folder = StateFolder(place, choice)
    if database is None:
        return folder
    from backfill.state.database_store import DatabaseStore  # noqa: PLC0415 (for those who name one)

    return DatabaseStore(database, folder, StateFolder(place / BYTES_FOLDER, choice))
