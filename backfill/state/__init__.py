"""The state folder: where runs keep what must outlive the process."""

from backfill.state.folder import DRY_RUNS_FOLDER, LEDGER_FILE, RunFolder, StateFolder, run_id
from backfill.state.lock import RunLock
from backfill.state.place import (
    ensure_space,
    file_system_type,
    holds_state,
    refuse_network,
    state_folder_from,
    state_folder_of_job,
)

__all__ = [
    "DRY_RUNS_FOLDER",
    "LEDGER_FILE",
    "RunFolder",
    "RunLock",
    "StateFolder",
    "ensure_space",
    "file_system_type",
    "holds_state",
    "refuse_network",
    "run_id",
    "state_folder_from",
    "state_folder_of_job",
]
