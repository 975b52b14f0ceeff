"""Log in, log out, and see one's own account; failures are counted, so that guessing takes years."""

import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from veilleur_contracts.clock import Clock
from veilleur_fleet.access.accounts import Accounts
from veilleur_fleet.access.actions import By
from veilleur_fleet.access.attempts import Attempts
from veilleur_fleet.access.capacity import EVERYONE, Caller
from veilleur_fleet.access.passwords import CHARACTERS_MAX
from veilleur_fleet.access.porter import (
    FOLLOWING_CHARACTERS_MAX,
    begin_session,
    checked_form,
    end_session,
    local_path,
    require,
    visit_of,
)
from veilleur_fleet.errors import AccessRejectedError
from veilleur_fleet.web.pages import Painter, language_of
from veilleur_fleet.web.words import N_

_T = TypeVar("_T")

AT_ONCE: Final = 4
"""Passwords tried at a time: each takes 32 MiB and a core."""
WAITING_MAX: Final = 8
"""More than these are told to come again: each holds one of the threads that answer everybody."""
TURN_S: Final = 10.0
PER_PAIR: Final = 5
PER_ADDRESS: Final = 30
PER_ACCOUNT: Final = 100
"""From many addresses: so high that nobody is easily kept out of their own account."""

WRONG: Final = N_("Name and password do not belong together.")
TOO_OFTEN: Final = N_("Too many attempts: wait a quarter of an hour.")
BUSY: Final = N_("Many are logging in just now: try again in a moment.")
UNEQUAL: Final = N_("The new password is not the same twice.")
WEAK: Final = N_("A password has 12 characters at least; a few words are easy to remember.")
CHANGED: Final = N_("The password is changed. Log in with the new one.")

_STATUS: Final = {WRONG: 403, TOO_OFTEN: 429, BUSY: 503}

person: Final = require(*EVERYONE, person=True)
Person = Annotated[Caller, Depends(person)]
Name = Annotated[str, Form(max_length=64)]
Password = Annotated[str, Form(max_length=CHARACTERS_MAX)]
Next = Annotated[str, Form(max_length=FOLLOWING_CHARACTERS_MAX)]
Following = Annotated[str, Query(alias="next", max_length=FOLLOWING_CHARACTERS_MAX)]
Lang = Annotated[str | None, Query(max_length=8)]


class Change(BaseModel):
    """A form that asks for another password."""

    password: Annotated[str, Field(max_length=CHARACTERS_MAX)]
    new: Annotated[str, Field(max_length=CHARACTERS_MAX)]
    again: Annotated[str, Field(max_length=CHARACTERS_MAX)]


class Login:
    """Tries passwords, ``AT_ONCE`` at a time, and not for ever."""

    def __init__(self, accounts: Accounts, clock: Clock) -> None:
        self.accounts = accounts
        self._attempts = Attempts(clock)
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._queue = threading.BoundedSemaphore(AT_ONCE + WAITING_MAX)

    def begin(self, address: str, name: str, password: str) -> tuple[str, Caller] | str:
        """Return the secret and the caller of a new session, or the sentence that says why there is none."""
        return self._tried(address, name, lambda: self.accounts.log_in(name, password))

    def doubt(self, address: str, name: str, password: str) -> str | None:
        """Return the sentence that says why ``password`` is not taken for that of ``name``; None: it is."""
        proven = self._tried(address, name, lambda: self.accounts.is_password_of(name, password) or None)
        return proven if isinstance(proven, str) else None

    def _tried(self, address: str, name: str, trial: Callable[[], _T | None]) -> _T | str:
        """Return what ``trial`` returns, or the sentence that says why it is not tried or failed."""
        keys = ((f"{address} {name}", PER_PAIR), (address, PER_ADDRESS), (f"@{name}", PER_ACCOUNT))
        if self._is_too_often(keys):
            return TOO_OFTEN
        if not self._queue.acquire(blocking=False):
            return BUSY
        try:
            return self._in_turn(keys, trial)
        finally:
            self._queue.release()

    def _in_turn(self, keys: Sequence[tuple[str, int]], trial: Callable[[], _T | None]) -> _T | str:
        if not self._turns.acquire(timeout=TURN_S):
            return BUSY
        try:
            if self._is_too_often(keys):  # those before us in the queue failed too
                return TOO_OFTEN
            found = trial()
            if found is None:
                for key, _ in keys:
                    self._attempts.note_failure(key)
                return WRONG
        finally:
            self._turns.release()
        self._attempts.forget(keys[0][0])
        return found

    def _is_too_often(self, keys: Sequence[tuple[str, int]]) -> bool:
        return any(self._attempts.wait_s(key, most) for key, most in keys)


class _Pages:
    """Draws the two pages of this module."""

    def __init__(self, painter: Painter) -> None:
        self._painter = painter

    def login(
        self, request: Request, lang: str | None, said: str | None = None, *, status: int = 200, **kept: str
    ) -> HTMLResponse:
        """Ask who somebody is; what they typed is kept, but for the password."""
        about = {"name": "", "following": "/"} | kept
        return self._page("login.html", request, lang, status, said=said, **about)

    def account(self, request: Request, lang: str | None, said: str | None = None) -> HTMLResponse:
        """Show somebody's own account."""
        return self._page("account.html", request, lang, 200 if said is None else 400, said=said)

    def _page(self, template: str, request: Request, lang: str | None, status: int, **values: object) -> HTMLResponse:
        language = language_of(self._painter, request, lang)
        return HTMLResponse(self._painter.page(template, language, None, visit=visit_of(request), **values), status)


def routes(painter: Painter, login: Login) -> APIRouter:
    """Return the routes of the login and of one's own account."""
    router, pages = APIRouter(include_in_schema=False), _Pages(painter)
    root = painter.place.root
    _add_account(router, pages, login)

    @router.get("/login")
    def ask(request: Request, following: Following = "/", lang: Lang = None) -> HTMLResponse:
        return pages.login(request, lang, following=local_path(following))

    @router.post("/login", dependencies=[Depends(checked_form)])
    def log_in(request: Request, name: Name, password: Password, following: Next = "/", lang: Lang = None) -> Response:
        begun = login.begin(_address_of(request), name.strip().lower(), password)
        target = local_path(following)
        if isinstance(begun, str):
            return pages.login(request, lang, begun, status=_STATUS[begun], name=name, following=target)
        secret, caller = begun
        answer = RedirectResponse(f"{root}{'/account' if caller.service and target == '/' else target}", 303)
        begin_session(answer, request, secret)
        return answer

    @router.post("/logout", dependencies=[Depends(checked_form)])
    def log_out(request: Request, caller: Person) -> Response:
        login.accounts.log_out(visit_of(request).session or "", caller)
        answer = RedirectResponse(f"{root}/login", 303)
        end_session(answer)
        return answer

    return router


def _add_account(router: APIRouter, pages: _Pages, login: Login) -> None:
    @router.get("/account", dependencies=[Depends(person)])
    def account(request: Request, lang: Lang = None) -> HTMLResponse:
        return pages.account(request, lang)

    @router.post("/account", dependencies=[Depends(checked_form)])
    def change(request: Request, caller: Person, form: Annotated[Change, Form()], lang: Lang = None) -> Response:
        if form.new != form.again:
            return pages.account(request, lang, UNEQUAL)
        doubt = login.doubt(_address_of(request), caller.name, form.password)
        if doubt is not None:
            return pages.account(request, lang, doubt)
        try:
            login.accounts.set_password(By.caller(caller), caller.name, form.new)
        except AccessRejectedError:
            return pages.account(request, lang, WEAK)
        answer = pages.login(request, lang, CHANGED, name=caller.name)
        end_session(answer)
        return answer


def _address_of(request: Request) -> str:
    return request.client.host if request.client else "nowhere"
