"""The draws of a rehearsal: the same for a seed, and all kinds over many."""

from backfill.rehearse.chance import FAULTS, Chance
from backfill.sandbox import FaultScript


def test_a_seed_is_one_rehearsal() -> None:
    """Faults and kills are the same again, whatever was drawn before; another seed has others."""
    first, second, other = Chance(7), Chance(7), Chance(8)
    second.kill(3, seconds=1, requests=9)
    assert first.faults() == second.faults() != other.faults()
    kills = [[one.kill(n, seconds=2, requests=20) for n in range(5)] for one in (first, second, other)]
    assert kills[0] == kills[1] != kills[2]
    assert all(0 <= kill.seconds <= 2 and kill.requests <= 20 for kill in kills[0])
    assert kills[0][0].requests == 0, "the first is while it prepares"
    assert all(kill.requests for kill in kills[0][1:])


def test_the_script_meets_requests_with_all_its_faults() -> None:
    """Each fault that is named happens to some of many requests, and most requests meet none."""
    script = FaultScript.parse(Chance(1).faults())
    names = [script.decide(number).name for number in range(1, 2_001)]
    assert {"lost", "status_500", "reset_after", "reset_before", "status_503", "status_429", "delay", ""} == set(names)
    assert any(script.decide(number).stored for number in range(1, 2_001)), "stored, and answered with an error"
    assert 0.5 < names.count("") / len(names) < 0.75
    assert len(FAULTS) == len(script.rules)
