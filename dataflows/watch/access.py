"""Who may look. On a loopback address everybody on this machine, but no web page that another site has opened in a browser here; on
any other address whoever shows the token."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from hashlib import blake2b
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from state.settings import ConfigError, WatchSettings

COOKIE = "segone-watch"
TOKEN_CHARACTERS_MIN = 16
BODY_BYTES_MAX = 4096
WRONG_TOKEN_S = 1.0
"""How long a wrong token is thought about: guessing takes for ever."""
OPEN_PATHS = ("/login", "/healthz")
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LOGIN = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>Segment of One: token</title></head><body><main><h1>Segment of One</h1>
<form method="post" action="login">
<label>Token <input type="password" name="token" autocomplete="current-password" autofocus required></label>
<button>Look</button></form></main></body></html>"""


def is_loopback(host: str) -> bool:
    """
    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_access(settings: WatchSettings) -> None:
    """Raises ConfigError where the page would be open to a network."""
    if settings.token and len(settings.token) < TOKEN_CHARACTERS_MIN:
        raise ConfigError(f"[watch] token: has fewer than {TOKEN_CHARACTERS_MIN} characters; make a longer, random one")
    if not is_loopback(settings.host) and not settings.token:
        raise ConfigError(
            f"[watch] host = {settings.host}: can be reached from other machines, so a token is required: [watch] token_file = "
            '"path" or SEGONE__WATCH__TOKEN_FILE; or stay on 127.0.0.1'
        )


class Guard:
    """ASGI middleware: lets requests pass that may, and gives every answer the headers that keep browsers strict."""

    def __init__(self, app: ASGIApp, settings: WatchSettings) -> None:
        self._app = app
        self._token = settings.token
        # What the cookie holds is worth nothing to another process, and doesn't tell the token.
        self._session = blake2b(self._token.encode(), key=secrets.token_bytes(32)).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = await self._refusal(Request(scope, receive))
        await (answer or self._app)(scope, receive, _with_headers(send))

    async def _refusal(self, request: Request) -> Response | None:
        """What to answer instead of the page; None lets the request pass."""
        if not self._token:
            # Another site's name may be made to point here (DNS rebinding): only our own names are answered.
            known = is_loopback(_named_host(request.headers))
            return None if known else PlainTextResponse("unknown host name; use 127.0.0.1 or localhost", 421)
        path = request.url.path
        if path == "/login":
            return await self._login(request)
        if path in OPEN_PATHS or self._shows_token(request.headers):
            return None
        return RedirectResponse("login", 303) if path == "/" else PlainTextResponse("the token is required", 401)

    def _shows_token(self, headers: Headers) -> bool:
        scheme, _, told = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and compare_digest(told.encode(), self._token.encode()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and compare_digest(cookie.value.encode(), self._session.encode())

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return HTMLResponse(_LOGIN, headers=_login_policy())
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                return PlainTextResponse("too long", 413)
        told = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        if not compare_digest(told.encode(), self._token.encode()):
            await asyncio.sleep(WRONG_TOKEN_S)
            return HTMLResponse(_LOGIN, 403, headers=_login_policy())
        answer = RedirectResponse("./", 303)
        answer.set_cookie(COOKIE, self._session, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer


def _named_host(headers: Headers) -> str:
    """The host that a request names; empty where it names none. Not the request's URL: what is no name gets the server's own there."""
    told = headers.get("host", "")
    try:
        address = urlsplit(f"//{told}")
        return (address.hostname or "") if address.netloc == told and "@" not in told else ""
    except ValueError:
        return ""


def _login_policy() -> dict[str, str]:
    return {
        "Content-Security-Policy": "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    }


def _with_headers(send: Send) -> Send:
    async def sending(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))  # type: ignore[call-overload]
            names = {name.lower() for name, _ in headers}
            headers += [(k.lower().encode(), v.encode()) for k, v in HEADERS.items() if k.lower().encode() not in names]
            message["headers"] = headers
        await send(message)

    return sending  # type: ignore[return-value]
