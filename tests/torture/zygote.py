"""The real command line in processes of its own, without two seconds of imports in each: one imports, and forks.

`Zygote.start` gives a process that is as a fresh one: the same beginning and end, its own session where it has a
terminal, and its own standard streams. The talk with the zygote is JSON, one line each way.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.torture.points import Plan, install

REPOSITORY = Path(__file__).parent.parent.parent.absolute()
TIMEOUT_SECONDS = 90.0


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, negative for the signal that killed it; and what it said."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def object(self) -> dict[str, Any]:
        """The only JSON object on stdout."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


@dataclass(frozen=True)
class Child:
    """A process under way."""

    zygote: Zygote
    pid: int
    out: Path
    err: Path
    began: float

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = TIMEOUT_SECONDS) -> Ended:
        """Its end. It is killed, and the test fails, where it does not come."""
        code = self.zygote.ask({"wait": self.pid, "seconds": seconds})["code"]
        assert code is not None, f"did not end within {seconds} s: {self.err.read_text()}"
        out, err = (path.read_text(encoding="utf-8") if path.exists() else "" for path in (self.out, self.err))
        return Ended(code, out, err, time.monotonic() - self.began)


class Zygote(AbstractContextManager["Zygote"]):
    """The process that forks. Used by one thread."""

    def __init__(self, folder: Path) -> None:
        """Start it; what its children say goes to files in `folder`."""
        self.folder = folder
        self.count = 0
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        environ |= {"PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.torture.zygote"],
            cwd=REPOSITORY,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Say something to the zygote; returns its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def start(
        self,
        *arguments: str | Path,
        cwd: Path,
        environ: Mapping[str, str] | None = None,
        plan: Plan | None = None,
        terminal: str = "",
        out: str = "",
        limit: int | None = None,
        weak: bool = False,
    ) -> Child:
        """Start the program.

        `terminal` is the pty it runs in, `out` a file for stdout, `limit` the largest file it may write (RLIMIT_FSIZE);
        `weak` takes root's right to write what is not to be written.
        """
        self.count += 1
        out = out or str(self.folder / f"{self.count}.out")
        err = str(self.folder / f"{self.count}.err")
        request = {
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "environ": dict(environ or {}),
            "plan": asdict(plan) if plan else None,
            "terminal": terminal,
            "out": out,
            "err": err,
            "limit": limit,
            "weak": weak,
        }
        began = time.monotonic()
        return Child(self, self.ask(request)["pid"], Path(out), Path(err), began)

    def run(self, *arguments: str | Path, cwd: Path, **options: Any) -> Ended:
        """Start the program and wait for its end."""
        return self.start(*arguments, cwd=cwd, **options).wait()


def warm() -> None:
    """Import whatever a verb may import."""
    import backfill

    for module in pkgutil.walk_packages(backfill.__path__, "backfill."):
        if module.name != "backfill.__main__":
            importlib.import_module(module.name)


def become(request: Mapping[str, Any]) -> list[str]:
    """Turn this process, just forked, into one of the program; returns its arguments."""
    os.chdir(request["cwd"])
    os.environ.update(request["environ"])
    if request["terminal"]:
        os.setsid()
        terminal = os.open(request["terminal"], os.O_RDWR)
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        streams = [terminal] * 3
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        streams = [os.open(os.devnull, os.O_RDONLY), *(os.open(request[name], flags, 0o600) for name in ("out", "err"))]
    for place, descriptor in enumerate(streams):
        os.dup2(descriptor, place)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (as in a process that begins: of what the descriptors are now)
    sys.stdout, sys.stderr = (open(place, "w", closefd=False) for place in (1, 2))  # noqa: SIM115
    if request["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], request["limit"]))
    if request["weak"]:
        drop_capabilities()
    if request["plan"]:
        install(Plan(**request["plan"]))
    return list(request["arguments"])


def drop_capabilities() -> None:
    """Be bound by the modes of files, root or not: capset(2) with nothing in it."""
    header = struct.pack("II", 0x20080522, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capset(header, bytes(24)) == 0, os.strerror(ctypes.get_errno())


def reap(pid: int, seconds: float) -> int | None:
    """The exit code of a child; None where it had to be killed for not ending."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def main() -> list[str]:
    """Fork what is asked for, until there is no more to ask; in a child, returns its arguments."""
    warm()
    gc.freeze()  # what was imported is not looked through, nor copied, by a child's collector
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = os.fdopen(os.dup(0), "r")
    for line in iter(asked.readline, ""):
        request = json.loads(line)
        if "wait" in request:
            answer = {"code": reap(request["wait"], request["seconds"])}
        else:
            pid = os.fork()
            if not pid:
                asked.close()
                talk.close()
                return become(request)
            answer = {"pid": pid}
        talk.write(json.dumps(answer) + "\n")
        talk.flush()
    os._exit(0)


if __name__ == "__main__":
    from backfill.__main__ import program

    program(main())
