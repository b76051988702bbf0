"""Which process is which, among machines: a holder of this machine that is seen to be dead is not waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from backfill.clock import system_boot
from backfill.frozen import frozen
from backfill.ledger.connection import Row


@frozen
class Process:
    """What tells this process from every other one that has the database."""

    host: str
    pid: int
    machine: str  # which boot of which machine, and whose process ids; empty where the system does not say
    started: str  # a process id is used again


def this_process() -> Process:
    """The one that asks."""
    return Process(socket.gethostname(), os.getpid(), _machine(), _started(os.getpid()))


def is_dead(held: Row, us: Process) -> bool:
    """Whether the holder was a process of this machine, in reach of our eyes, and is there no more."""
    if not us.machine or held["machine"] != us.machine or not held["started"]:
        return False
    return _started(held["pid"]) != str(held["started"])


def _machine() -> str:
    """The boot, and the namespace in which process ids are told apart (pid_namespaces(7)); containers share a boot."""
    boot = system_boot()[0]
    try:
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}" if boot else ""
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process was started, in clock ticks since the boot (proc_pid_stat(5), field 22); empty where it is not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
        fields = text.rpartition(") ")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # counted from the third; a zombie works no more
