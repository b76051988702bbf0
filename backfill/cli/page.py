"""The sandbox's page while a run goes on, and after it: `run --open`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backfill.cli.here import SANDBOX
from backfill.errors import UsageError

if TYPE_CHECKING:
    from backfill.cli.interrupts import Interrupts
    from backfill.cli.session import Session
    from backfill.pipeline import RunRequest
    from backfill.targets import Target

#: How often it is looked whether a signal came, in seconds.
_LOOK_SECONDS = 0.2


@dataclass(slots=True)
class PageServing:
    """Where the sandbox that runs are sent to shows its page: told once, and served until a signal."""

    endpoints: list[str] = field(default_factory=list)

    def refuse_live(self, targets: Sequence[Target]) -> None:
        """Raise UsageError where a target is live: only a sandbox has a page."""
        live = next((one for one in targets if one.live), None)
        if live is not None:
            raise UsageError(
                f"--open shows the page of a sandbox, and {live.name} is none", hint="say --target sandbox"
            )

    def tell(self, session: Session) -> Callable[[str], None]:
        """What tells the address of the page of an endpoint, the first time."""

        def told(endpoint: str) -> None:
            if endpoint not in self.endpoints:
                self.endpoints.append(endpoint)
                session.say(f"The sandbox shows what arrives at {endpoint}/")

        return told

    def wait(self, session: Session, interrupts: Interrupts, request: RunRequest) -> None:
        """Serve the page until a signal comes; not that of a sandbox in another process, which serves it itself.

        A run that was finished before has reached no sandbox: then one is served over what was received.
        """
        if interrupts.stop.is_set() or request.target.endpoint:
            return
        from backfill.sandbox import Sandbox

        interrupts.serving.set()
        if self.endpoints:
            _wait(session, interrupts)
            return
        with Sandbox(request.context.store.path / SANDBOX) as sandbox:
            self.tell(session)(sandbox.endpoint)
            _wait(session, interrupts)


def _wait(session: Session, interrupts: Interrupts) -> None:
    session.say("The page is served until Ctrl-C.")
    while not interrupts.stop.wait(_LOOK_SECONDS):
        pass
