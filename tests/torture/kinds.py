"""The kinds of faults: each takes a bench and chance, torments one run, judges, and returns the points it met."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.torture.trial import Bench, Trial
from tests.torture.zygote import Ended

#: A stop is answered within so many seconds, on a machine that does other things, too.
SOON_SECONDS = 20.0
SIGNALLED = {"int": 130, "int heard int": 130, "term": 143, "hup": 143, "term heard int": 143}
#: Bytes of the tmpfs that is filled: more than the program keeps free.
SMALL_DISK_BYTES = 120_000_000


def killed(bench: Bench, chance: random.Random, points: list[str] | None = None) -> list[str]:
    """Killed at up to three points, one process after the other, and looked at in between."""
    trial = bench.trial()
    met = []
    for point in points or sorted(chance.sample(bench.points, 3), key=bench.points.index):
        plan = trial.plan(point, "kill")
        ended = bench.go_on(trial, plan) if met else trial.run(plan)
        if ended.code != -9:
            assert ended.code == bench.code, ended
            break
        met.append(point)
        trial.look()
    trial.finish(twice=True)
    trial.clear()
    return met


def killed_in(bench: Bench, seed: str, places: Sequence[str]) -> list[str]:
    """Killed in each of these places, one process after the other: at the first or second time of a step so named."""
    chance = random.Random(seed)
    early = [point for point in bench.points if re.search("#[12] ", point)]
    return killed(bench, chance, [chance.choice([point for point in early if place in point]) for place in places])


def signalled(bench: Bench, chance: random.Random, point: str = "", act: str = "") -> list[str]:
    """Stopped by a signal, or two."""
    trial = bench.trial()
    act = act or chance.choice(list(SIGNALLED))
    point = point or chance.choice(bench.points)
    ended = trial.run(trial.plan(point, act))
    assert ended.code in {SIGNALLED[act], bench.code}, (act, ended)
    assert ended.seconds < SOON_SECONDS, ended.seconds
    trial.look()
    trial.finish()
    trial.clear()
    return [point] if ended.code == SIGNALLED[act] else []


def refused(bench: Bench, chance: random.Random, point: str = "", act: str = "full") -> list[str]:
    """From a point on, no file takes anything."""
    trial = bench.trial()
    point = point or chance.choice(bench.points)
    ended = trial.run(trial.plan(point, act))
    full_disk_told(bench, ended) if act == "full" else told(ended)
    trial.look()
    trial.finish()
    trial.clear()
    return [point] if ended.code != bench.code else []


def filled(bench: Bench, chance: random.Random, disk: Path, point: str = "", spare: int | None = None) -> list[str]:
    """The disk that the state is on is full from a point on, but for some bytes."""
    trial = bench.trial(disk / "state")
    filler = disk / "filler"
    point = point or chance.choice(bench.points)
    spare = chance.choice([0, 4096, 50_000, 300_000, 1_500_000]) if spare is None else spare
    ended = trial.run(trial.plan(point, "fill", filler=str(filler), spare=spare))
    try:
        full_disk_told(bench, ended)
        trial.look()  # a full disk is looked at, too
    finally:
        filler.unlink(missing_ok=True)
    trial.look()
    trial.finish()
    trial.clear()
    return [point] if ended.code != bench.code else []


def limited(bench: Bench, chance: random.Random, size: int | None = None) -> list[str]:
    """No file may grow beyond a size (RLIMIT_FSIZE)."""
    trial = bench.trial()
    size = int(10 ** chance.uniform(3.7, 6.3)) if size is None else size
    ended = trial.run(limit=size)
    told(ended)
    trial.look()
    trial.finish()
    trial.clear()
    return [f"RLIMIT_FSIZE {size}"] if ended.code != bench.code else []


def full_disk_told(bench: Bench, ended: Ended) -> None:
    """Exit 5, what is full, and what to do; or a run that needed no more room."""
    assert ended.code in {5, bench.code}, ended
    if ended.code != bench.code:  # one that leaves calls in doubt for good ends with 5 as well
        assert "space left" in ended.err or "disk" in ended.err, ended
        assert "Hint: " in ended.err, ended


def told(ended: Ended) -> None:
    """An end that says what is wrong and what to do."""
    assert ended.code in {0, 3} or "Error: " in ended.err, ended
    assert ended.code in {0, 3, 9} or "Hint: " in ended.err, ended
    assert ended.code >= 0, ended


Damage = Callable[[Path, random.Random], str]


def flip(path: Path, chance: random.Random) -> str:
    """One bit is another."""
    content = bytearray(path.read_bytes())
    if not content:
        return ""
    place, bit = chance.randrange(len(content)), chance.randrange(8)
    content[place] ^= 1 << bit
    write(path, bytes(content))
    return f"bit {bit} of byte {place} flipped"


def zero(path: Path, chance: random.Random) -> str:
    """A sector is zeros."""
    content = bytearray(path.read_bytes())
    if not content:
        return ""
    place = chance.randrange(len(content)) // 512 * 512
    content[place : place + 512] = bytes(len(content[place : place + 512]))
    write(path, bytes(content))
    return f"512 bytes from {place} zeroed"


def truncate(path: Path, chance: random.Random) -> str:
    """The end is missing."""
    size = path.stat().st_size
    left = chance.choice([0, chance.randrange(size + 1), size // 4096 * 4096])
    os.truncate(path, left)
    return f"truncated from {size} to {left}"


def grow(path: Path, chance: random.Random) -> str:
    """There is more at the end."""
    with path.open("ab") as file:
        file.write(chance.randbytes(chance.choice([1, 512, 4096])))
    return "grown"


def delete(path: Path, _: random.Random) -> str:
    """It is gone."""
    path.unlink()
    return "deleted"


def write(path: Path, content: bytes) -> None:
    """Put the content into the file that is there."""
    with path.open("r+b") as file:
        file.write(content)


DAMAGES: tuple[Damage, ...] = (flip, zero, truncate, grow, delete)


def files_of(trial: Trial) -> list[Path]:
    """Every file of the state directory."""
    return sorted(path for path in trial.state.rglob("*") if path.is_file())


def damaged(bench: Bench, chance: random.Random, point: str = "", damage: Damage | None = None) -> list[str]:
    """Killed somewhere, then one file is damaged: an error that says so, or a run that comes to the right end."""
    trial = bench.trial()
    point = point or chance.choice(bench.points)
    killed_ = trial.run(trial.plan(point, "kill"))
    if killed_.code == -9 and chance.random() < 0.5:
        trial.look()  # which may leave what SQLite makes to read
    files = files_of(trial)
    if not files:
        return []
    path = chance.choice(files)
    what = (damage or chance.choice(DAMAGES))(path, chance)
    return [f"{path.relative_to(trial.state)} {what}"] if survived(trial, f"{path} {what}, killed at {point}") else []


def survived(trial: Trial, what: str) -> bool:
    """A damaged run is looked at and gone on with; whether it came to its end. Never a wrong one."""
    bench = trial.bench
    for verb in ("status", "rejects"):
        told(trial.verb(verb))
    known = trial.in_doubt
    ended = bench.go_on(trial)
    told(ended)
    assert ended.code in {0, 1, 3, 5, 6, 9}, (what, ended)
    if ended.code in {0, 3}:
        assert ended.code == bench.code, (what, ended)
        assert bench.receiver.calls == bench.calls, (what, ended, len(bench.receiver.calls), len(bench.calls))
        assert not bench.receiver.altered, what
        again = bench.receiver.arrivals - bench.arrivals - known
        trial.doubled = max(again, 0)
    trial.clear()
    return ended.code in {0, 3}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A tmpfs of its own on that folder; None where nobody may mount."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES},mode=0700", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
