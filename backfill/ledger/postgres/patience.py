"""How long an answer of the server is waited for: what swallows a connection may acknowledge every byte of it for ever.

TCP learns nothing of a proxy or a tunnel that takes all and passes on none, so neither keep-alives nor
`tcp_user_timeout` end such a connection: a clock of this process does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

#: Told for how many seconds no byte has come while one was waited for, whether to give the connection up.
GivesUp = Callable[[float], bool]
#: Seconds without a byte after which the server counts as out of reach: where it has to answer at once.
REACH_SECONDS = 10.0
#: Seconds without a byte that any other statement may take.
ANSWER_SECONDS = 120.0
_LOOK_SECONDS = 0.1


def out_of_reach(seconds: float) -> bool:
    """For what is answered at once: settings, the renewal of a lease."""
    return seconds > REACH_SECONDS


def no_answer(seconds: float) -> bool:
    """For whatever may take the server a while."""
    return seconds > ANSWER_SECONDS


@cache
def patient_connection() -> type[psycopg.Connection[Any]]:
    """Psycopg's class of connections, with an attribute `gives_up` that is asked ten times a second of each wait.

    One that is given up is closed, and its statement raises OperationalError: whether it was done is not known.
    """
    import psycopg  # noqa: PLC0415 (heavy, and only of those who keep runs in a database)
    from psycopg.waiting import READY_NONE, wait_selector  # noqa: PLC0415

    class Patient(psycopg.Connection[Any]):
        gives_up: GivesUp = staticmethod(out_of_reach)
        given_up = False

        def wait(self, gen: Any, *_values: Any, **_named: Any) -> Any:  # noqa: ANN401 (as psycopg's, of any version)
            # Until 3.3 psycopg's own, written in C, tells nobody that the socket is quiet.
            return wait_selector(self._watched(gen), self.pgconn.socket, _LOOK_SECONDS)

        def _watched(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
            """The same steps; psycopg says READY_NONE where the socket was quiet for a tenth of a second."""
            heard = time.monotonic()
            try:
                step = next(gen)
                while True:
                    ready = yield step
                    now = time.monotonic()
                    if ready != READY_NONE:
                        heard = now
                    elif self.gives_up(now - heard):
                        self.given_up = True
                        self.close()
                        raise psycopg.OperationalError(f"no answer for {now - heard:.0f} s")
                    step = gen.send(ready)
            except StopIteration as done:
                return done.value

    return Patient
