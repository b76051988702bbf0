"""One run delivered by machines that have networks of their own, of which one is cut off."""

from __future__ import annotations

import threading
from itertools import count
from pathlib import Path

from backfill.errors import ExitCode
from tests.support.delivery_fakes import Seen, Step
from tests.support.networks import SERVERS, networks
from tests.support.postgres import Postgres
from tests.support.projects import Project
from tests.support.together import SHORT_LEASE, prepared
from tests.support.waiting import until

ROWS = 4_000
SENT = ROWS - 2
#: The program in the network of another process, with a lease that a test can wait for, and a busy machine can keep.
ELSEWHERE = "from tests.support.networks import enter\nenter({pid})\n" + SHORT_LEASE.replace("= 1.0", "= 4.0")


def test_its_cable_is_pulled(project: Project, key: str, postgres: Postgres, tmp_path: Path) -> None:
    """Its packets are lost, and it is not told: another ends the run; back, it stops; doubled is what was in doubt."""
    there, number = threading.Event(), count(1)
    with prepared(project, postgres, ROWS, "x" * 3_000, spool=tmp_path / "shared", host=SERVERS) as delivery:
        with networks(2, postgres.port, delivery.endpoint.port) as made:

            def cut_at_the_eighth(seen: Seen) -> Step:
                assert there.wait(60)
                if next(number) == 8:
                    made.cut(0)
                return delivery.answer(seen)

            delivery.endpoint.decides = cut_at_the_eighth
            url = delivery.url.replace("127.0.0.1", SERVERS)
            for place, machine in enumerate(made.machines):
                here = ("--state-dir", str(tmp_path / f"machine {place}"))
                targets = ("--targets", str(project.folder / "targets.yaml"))
                delivery.start(*here, *targets, url=url, program=ELSEWHERE.format(pid=machine))
            until(lambda: delivery.steps() == ["first", "wait"])
            there.set()
            cut_off, other = delivery.processes
            assert other.wait(120) == ExitCode.REJECTS, other.communicate()
            made.mend(0)
            _, said = cut_off.communicate(timeout=120)
            assert cut_off.returncode in (ExitCode.LOCKED, ExitCode.STOPPED), said
        assert len(delivery.arrived) == SENT
        with delivery.run.read() as reader:
            assert reader.counts().faults() == []
            unknown = [one.calls for one in reader.sent_attempts() if one.outcome == "unknown"]
        assert delivery.arrived.total() - SENT <= sum(unknown)
