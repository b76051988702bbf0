"""Machines of their own networks: each in a network namespace, joined by a cable to one in which servers are reached.

Linux's namespaces(7), veth(4), by util-linux and iproute2. A namespace lasts as long as the process that holds it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.support.cutting_proxy import CuttingProxy

#: Where the servers of this machine are reached from the others; no packet of it leaves their cables.
SERVERS = "10.213.0.1"
_CLONE_NEWNET = 0x40000000


def enter(pid: int) -> None:
    """Let this thread, and what it starts, be in the network of that process."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(namespace)


@dataclass
class Networks:
    """The network of the servers and those of the machines, each by the process that holds it."""

    servers: int
    machines: list[int] = field(default_factory=list)

    def plug(self, machine: int) -> None:
        """Join a machine to the servers; it gets the next number, from 0."""
        number = len(self.machines)
        self.machines.append(machine)
        here, there = _ip(self.servers), _ip(machine)
        here("link", "add", f"to{number}", "type", "veth", "peer", "name", "cable", "netns", str(machine))
        here("address", "add", f"10.213.{number + 1}.1/24", "dev", f"to{number}")
        there("address", "add", f"10.213.{number + 1}.2/24", "dev", "cable")
        for ip, name in ((here, f"to{number}"), (there, "cable"), (there, "lo")):
            ip("link", "set", name, "up")
        there("route", "add", SERVERS, "via", f"10.213.{number + 1}.1")

    def cut(self, number: int) -> None:
        """Pull the cable of a machine: what it sends is lost, and it is not told."""
        _ip(self.servers)("link", "set", f"to{number}", "down")

    def mend(self, number: int) -> None:
        """Put it back."""
        _ip(self.servers)("link", "set", f"to{number}", "up")

    def listening(self, port: int) -> socket.socket:
        """A socket that listens at that port of SERVERS, for the machines alone."""
        made: list[socket.socket] = []

        def listen() -> None:
            enter(self.servers)
            made.append(socket.create_server((SERVERS, port)))

        thread = threading.Thread(target=listen)  # which alone is there: a socket stays where it was made
        thread.start()
        thread.join()
        return made[0]


@contextmanager
def networks(machines: int, *ports: int) -> Iterator[Networks]:
    """So many machines, from which these ports of loopback are reached at SERVERS; skips where nobody may make them."""
    with ExitStack() as stack:
        made = Networks(_held(stack))
        ip = _ip(made.servers)
        ip("address", "add", f"{SERVERS}/32", "dev", "lo")
        ip("link", "set", "lo", "up")
        for _ in range(machines):
            made.plug(_held(stack))
        for port in ports:
            stack.enter_context(CuttingProxy(port, made.listening(port)))
        yield made


def _held(stack: ExitStack) -> int:
    """The process that holds a new network, until the stack ends, or this process does."""
    missing = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not here: install Debian's `util-linux` and `iproute2`")
    words = ["unshare", "--net", "sh", "-c", "echo made; exec cat"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    stack.enter_context(process)
    stack.callback(process.kill)
    assert process.stdout is not None
    if not process.stdout.readline():
        pytest.skip("nobody may make a network namespace here: no machine was cut off by its cable")
    return process.pid


def _ip(pid: int) -> partial[None]:
    return partial(_run, "nsenter", f"--net=/proc/{pid}/ns/net", "ip")


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
