"""Asking an API that speaks JSON: again while it is busy, and never longer than a person waits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

import orjson

from backfill.deliver.environment import named_proxy
from backfill.deliver.redact import detail_of
from backfill.deliver.transport import Reply, ask
from backfill.errors import SourceError, TargetRefusedError
from backfill.escape import escaped
from backfill.pipeline.context import RunContext
from backfill.targets.asked import AskTarget
from backfill.verdict import Failure

#: Seconds that each wait for an answer takes at most.
_SECONDS: Final = 60.0
#: Seconds between attempts where the answer does not say.
_PATIENCE: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: No answer makes it wait longer than this at once.
_LONGEST: Final = 120.0
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_REFUSED: Final = frozenset({401, 403, 404})


class JsonApi:
    """An API, with the token for it. Used by one thread."""

    def __init__(self, target: AskTarget, context: RunContext, headers: Mapping[str, str] | None = None) -> None:
        self.target = target
        self._context = context
        self._headers = {"Accept": "application/json", **(headers or {})}
        if target.token is not None:
            self._headers["Authorization"] = f"Bearer {target.token.reveal()}"

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 (JSON)
        """The JSON that it answers: to GET, or to POST where there is a body.

        Raises:
            TargetRefusedError: It answers 401, 403 or 404.
            SourceError: It stays busy or out of reach, refuses the question, or answers no JSON.
            InterruptedRunError: A signal came.
        """
        reply = self._patiently(path, body)
        if isinstance(reply.end, Failure):
            raise SourceError(f"{self._at}: {self._said(reply)}")
        if reply.end in _REFUSED:
            raise TargetRefusedError(
                f"{self._at} answers {reply.end}: {self._said(reply)}",
                hint=f"look at the token and the ids of ask.{self.target.name} in targets.yaml",
            )
        if reply.end != HTTPStatus.OK:
            raise SourceError(f"{self._at} answers {reply.end}: {self._said(reply)}")
        try:
            return orjson.loads(
                reply.body
            )  # refuses halves of characters and endless nesting, which nothing here takes
        except ValueError:
            raise SourceError(f"{self._at} answers no JSON") from None

    def lines(self, path: str) -> list[str]:
        """The lines of a text that it answers to GET; raises as `ask` does."""
        reply = self._patiently(path, None)
        if reply.end != HTTPStatus.OK:
            raise SourceError(f"{self._at}{path}: {self._said(reply)}")
        return reply.body.decode("utf-8", "replace").splitlines()

    @property
    def _at(self) -> str:
        return self.target.endpoint

    def _said(self, reply: Reply) -> str:
        """What it answers, in few words, harmless, and without the token that it may repeat."""
        token = self.target.token
        return escaped(detail_of(reply, (token.reveal(),) if token is not None else ())) or "nothing"

    def _patiently(self, path: str, body: Mapping[str, Any] | None) -> Reply:
        """The first answer that is not to be waited for, or the last."""
        url = f"{self.target.endpoint}{path}"
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = self._headers if content is None else {**self._headers, "Content-Type": "application/json"}
        through = named_proxy(url)
        for pause in (*_PATIENCE, None):
            self._context.check_stop()
            reply = ask(url, _SECONDS, headers=headers, body=content, through=through)
            passing = isinstance(reply.end, Failure) or reply.end in _PASSING
            if pause is None or not passing:
                break
            self._wait(retry_after(reply, pause))
        return reply

    def _wait(self, seconds: float) -> None:
        clock = self._context.clock
        until = clock.monotonic() + seconds
        while (left := until - clock.monotonic()) > 0:
            self._context.check_stop()
            clock.sleep(min(left, 0.2))


@contextmanager
def as_documented(what: str) -> Iterator[None]:
    """To read what was answered in; raises SourceError, which names `what`, where that has another form."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise SourceError(
            f"{what} answers something else than it is documented to", hint="look at its endpoint in targets.yaml"
        ) from error


def text_or_none(value: object) -> str | None:
    """A text, or nothing; raises TypeError for anything else."""
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{type(value).__name__} where a text is to be")


def retry_after(reply: Reply, otherwise: float) -> float:
    """The seconds that an answer asks for, bounded."""
    text = reply.headers.get("retry-after", "")
    return min(_LONGEST, float(text)) if text.isascii() and text.isdigit() else otherwise
