"""Who may read what a sandbox holds: whoever is on this machine, or has the token.

Sending is not asked for either: it adds, and tells nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response

COOKIE: Final = "backfill-sandbox"
TOKEN: Final = "token"  # noqa: S105 (its name in the first address)
_Message = MutableMapping[str, Any]
_App = Callable[[_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]]


def new_token() -> str:
    """A token nobody can guess: 256 bits."""
    return secrets.token_urlsafe(32)


class Access:
    """An ASGI application before another, which lets through what may read.

    Without a token, requests have to name this machine in their Host header: a page of a stranger whose name was made
    to lead here (DNS rebinding) is then refused. With one, a request has it in its address once, which is answered by a
    cookie and the address without it, or in the cookie, or as `Authorization: Bearer`.
    """

    def __init__(self, app: _App, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(
        self, scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        """Answer, or let the application do it."""
        refusal = self._refusal(scope) if scope["type"] == "http" and scope["method"] != "POST" else None
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: _Message) -> Response | None:
        headers = Headers(scope=scope)
        if self._token is None:
            if names_this_machine(headers.get("host", "")):
                return None
            return PlainTextResponse(
                "Only this machine may read here: ask for localhost.\n", HTTPStatus.MISDIRECTED_REQUEST
            )
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if any(self._is_it(value) for name, value in query if name == TOKEN):
            return self._let_in(scope, [(name, value) for name, value in query if name != TOKEN])
        bearer = headers.get("authorization", "").partition(" ")
        if self._is_it(_cookie(headers)) or (bearer[0].lower() == "bearer" and self._is_it(bearer[2].strip())):
            return None
        told = "Open the address with the token that `backfill sandbox` printed when it began.\n"
        return PlainTextResponse(told, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})

    def _is_it(self, text: str) -> bool:
        return self._token is not None and hmac.compare_digest(text.encode(errors="replace"), self._token.encode())

    def _let_in(self, scope: _Message, query: list[tuple[str, str]]) -> Response:
        # Of the path only one that begins with a single slash: `//host/` would lead elsewhere.
        path = "/" + str(scope["path"]).lstrip("/\\")
        answer = RedirectResponse(path + (f"?{urlencode(query)}" if query else ""), HTTPStatus.SEE_OTHER)
        answer.set_cookie(COOKIE, self._token or "", httponly=True, samesite="strict", path="/")
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cache-Control"] = "no-store"
        return answer


def names_this_machine(host: str) -> bool:
    """Whether a Host header is localhost or an address of loopback, with or without a port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _cookie(headers: Headers) -> str:
    # Python's SimpleCookie gives up at the first cookie that it cannot read: one of another port of this host, say.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
