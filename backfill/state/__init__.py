"""The state folder: where runs keep what must outlive the process, as a `RunStore` on this machine's disk."""

from __future__ import annotations

from pathlib import Path

from backfill.records import RunStore
from backfill.state.folder import StateFolder, run_id
from backfill.state.place import (
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
    "open_store",
    "refuse_network",
    "run_id",
    "state_folder_from",
    "state_folder_of_job",
]


def open_store(place: Path, choice: SpoolChoice = SpoolChoice()) -> RunStore:  # noqa: B008 (frozen)
    """The runs that are kept there; touches nothing. The one place that knows which implementation keeps them.

    `choice` says where runs that begin keep their bytes.
    """
    return StateFolder(place, choice)
