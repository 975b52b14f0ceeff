"""Stand at the entrance of the web: find out who asks, and let them to what their role may see.

    request ──▶ Porter: cookie or token ──▶ Caller ──▶ require(roles) of the route ──▶ answer
                  └─ nobody, and it is not public ──▶ 401 (programs) or the login page (people)

Nothing is public by default: a route without a rule of its own is still behind the login.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote

from fastapi import HTTPException, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from veilleur_fleet.access.accounts import SECRET_CHARACTERS_MAX, SESSION_MS, Accounts
from veilleur_fleet.access.capacity import PASSER_BY, STAFF, Access, Caller, Role
from veilleur_fleet.notices.board import Board
from veilleur_fleet.routing.table import RoutingTable
from veilleur_fleet.store.database import UNAVAILABLE

SESSION_COOKIE: Final = "veilleur-session"
FORM_COOKIE: Final = "veilleur-form"
COOKIE_CHARACTERS_MAX: Final = 4096
BODY_BYTES_MAX: Final = 524_288
BODY_WITHIN_S: Final = 30.0
FIELDS_MAX: Final = 100
FOLLOWING_CHARACTERS_MAX: Final = 300
"""Of the page to which somebody goes on after the login."""
SILENT: Final = "the database does not answer just now: ask again in a moment"
_PUBLIC: Final = frozenset({"/login", "/healthz"})
_STATIC: Final = "/static/"
_SAME_SITE: Final = frozenset({"same-origin", "none"})
_CSRF: Final = b"veilleur form"


@dataclass(slots=True)
class Visit:
    """One request, as the porter sees it.

    Attributes:
        caller: Who asks; None: nobody known, and everybody is asked.
        secret: What the browser keeps, from which its forms are told from others'.
        session: The secret of its session; None: it has none.
        here: Path of the page it asks for, which another language can be asked of; None: it asks for none.
        form_used: Whether a form was drawn for it.
    """

    caller: Caller | None
    secret: str
    session: str | None = None
    here: str | None = None
    form_used: bool = field(default=False)

    def form_token(self) -> str:
        """Return what a form of ours carries and another site cannot know."""
        self.form_used = True
        return self.expected()

    def expected(self) -> str:
        """Return the token that a form must come with."""
        return hmac.new(self.secret.encode("utf-8"), _CSRF, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Entrance:
    """What the porter is built from.

    Attributes:
        accounts: Whom it knows.
        routing: Which service is told what.
        board: What operators confirmed.
        access: When it asks.
    """

    accounts: Accounts
    routing: RoutingTable
    board: Board
    access: Access = Access.AUTO


class Porter:
    """An ASGI middleware; holds nothing of those who come and go."""

    def __init__(self, app: ASGIApp, entrance: Entrance, root: str) -> None:
        self._app = app
        self._accounts = entrance.accounts
        self._access = entrance.access
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or say what is missing."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(self._root)
        try:
            visit = Visit(PASSER_BY, "") if path.startswith(_STATIC) else await self._visit_of(headers)
        except UNAVAILABLE:
            await JSONResponse({"error": SILENT}, 503, {"Retry-After": "5"})(scope, receive, send)
            return
        visit.here = path if scope["method"] == "GET" else None
        scope.setdefault("state", {})["visit"] = visit
        given = visit.secret

        async def send_cookies(message: Message) -> None:
            if message["type"] == "http.response.start" and visit.form_used and visit.session is None:
                cookie = Response()
                keep(cookie, FORM_COOKIE, given, secure=scope["scheme"] == "https")
                MutableHeaders(scope=message).append("set-cookie", cookie.headers["set-cookie"])
            await send(message)

        if visit.caller is None and path not in _PUBLIC:
            await ask_who(Request(scope), self._root)(scope, receive, send)
            return
        await self._app(scope, _bounded(receive), send_cookies)

    async def _visit_of(self, headers: Headers) -> Visit:
        cookies = _cookies_of(headers.get("cookie", ""))
        form = cookies.get(FORM_COOKIE, "")
        secret = form if _is_secret(form) else secrets.token_urlsafe(32)
        kind, _, token = headers.get("authorization", "").partition(" ")
        session = cookies.get(SESSION_COOKIE, "")
        if kind.lower() == "bearer":
            return Visit(await asyncio.to_thread(self._accounts.by_token, token.strip()), secret)
        if _is_secret(session):
            caller = await asyncio.to_thread(self._accounts.by_session, session)
            if caller is not None:
                return Visit(caller, session, session)
        return Visit(PASSER_BY if await self._is_open() else None, secret)

    async def _is_open(self) -> bool:
        if self._access is Access.AUTO:
            return not await asyncio.to_thread(self._accounts.is_anybody_known)
        return self._access is Access.OPEN


def ask_who(request: Request, root: str) -> Response:
    """Answer a request that must say whose it is: people are sent to the login page, programs are told what to send."""
    path = request.url.path.removeprefix(root)
    if request.method == "GET" and "text/html" in request.headers.get("accept", "") and not path.startswith("/v1/"):
        wanted = f"{path}?{request.url.query}" if request.url.query else path
        wanted = next((one for one in (wanted, path) if len(one) <= FOLLOWING_CHARACTERS_MAX), "/")
        lang = "&lang=" + quote(request.query_params["lang"][:8]) if "lang" in request.query_params else ""
        return RedirectResponse(f"{root}/login?next={quote(wanted)}{lang}", 303)
    sentence = "say who you are: send a token as `Authorization: Bearer ...`; `veilleur-fleet token new` makes one"
    return JSONResponse({"error": sentence}, 401, {"WWW-Authenticate": 'Bearer realm="veilleur"'})


def visit_of(request: HTTPConnection) -> Visit:
    """Return how the porter saw ``request``."""
    visit = request.scope["state"]["visit"]
    if not isinstance(visit, Visit):
        message = "a request came past the porter"
        raise TypeError(message)
    return visit


def require(*roles: Role, person: bool = False) -> Callable[[Request], Caller]:
    """Return a dependency that lets only ``roles`` in and tells who asks.

    Args:
        roles: Whoever has one of these. Where nobody is asked who they are, everybody looks.
        person: Let in only somebody who has logged in by name: for whatever changes something.
    """

    def enter(request: Request) -> Caller:
        caller = visit_of(request).caller
        if caller is None:
            raise HTTPException(401)
        if not caller.has(*roles):
            raise HTTPException(403)
        if person and not caller.is_person:
            raise HTTPException(403 if caller.capacity is not None else 401)
        return caller

    enter.__dict__["roles"] = roles
    return enter


staff: Final = require(*STAFF)
"""Everybody but consumers."""


async def checked_form(request: Request) -> None:
    """Refuse a form that another site made somebody's browser send.

    Raises:
        HTTPException: 403.
    """
    if not is_own_form(request, (await request.form(max_files=0, max_fields=FIELDS_MAX)).get("form_token")):
        raise HTTPException(403)


def is_own_form(request: Request, token: object) -> bool:
    """Tell whether a form with this token is one that we drew for whoever sends it."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    expected = visit_of(request).expected().encode("ascii")
    return (
        site in _SAME_SITE
        and isinstance(token, str)
        and hmac.compare_digest(token.encode("utf-8", "surrogatepass"), expected)
    )


def keep(response: Response, name: str, value: str, *, secure: bool, seconds: int | None = None) -> None:
    """Have the browser keep ``value``: for us alone, out of scripts' reach, never sent from another site."""
    response.set_cookie(name, value, max_age=seconds, path="/", httponly=True, samesite="strict", secure=secure)


def begin_session(response: Response, request: Request, secret: str) -> None:
    """Have the browser keep the secret of its session."""
    keep(response, SESSION_COOKIE, secret, secure=request.url.scheme == "https", seconds=SESSION_MS // 1000)


def end_session(response: Response) -> None:
    """Have the browser forget its session."""
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")


def local_path(asked: str | None) -> str:
    """Return ``asked`` if it is a path on this site, else ``/``: nobody is sent elsewhere after the login."""
    if asked is None or not asked.startswith("/") or asked.startswith("//") or "\\" in asked or not asked.isprintable():
        return "/"
    return asked


def _bounded(receive: Receive) -> Receive:
    """Stop reading a body that is too long, or does not come in time."""
    taken, is_whole, began = 0, False, asyncio.get_running_loop().time()

    async def receive_bounded() -> Message:
        nonlocal taken, is_whole
        try:
            async with asyncio.timeout_at(None if is_whole else began + BODY_WITHIN_S):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408) from None
        if message["type"] == "http.request":
            is_whole = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES_MAX:
                raise HTTPException(413)
        return message

    return receive_bounded


def _cookies_of(header: str) -> dict[str, str]:
    if len(header) > COOKIE_CHARACTERS_MAX:
        return {}
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def _is_secret(text: str) -> bool:
    return (
        0 < len(text) <= SECRET_CHARACTERS_MAX and text.isascii() and text.replace("-", "").replace("_", "").isalnum()
    )
