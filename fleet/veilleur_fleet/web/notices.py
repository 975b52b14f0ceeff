"""The page on which operators confirm and withdraw what drivers are told, and the feed that tells it."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from veilleur_fleet.access.actions import By
from veilleur_fleet.access.capacity import EVERYONE, Caller, Role
from veilleur_fleet.access.porter import checked_form, require, staff, visit_of
from veilleur_fleet.feeds.cifs import incidents
from veilleur_fleet.notices.board import Board
from veilleur_fleet.notices.rules import NoticeRejectedError, Subtype, Way, content_of
from veilleur_fleet.web.pages import Painter, language_of
from veilleur_fleet.web.words import N_

SUBTYPES: Final = {
    Subtype.OBJECT: N_("Object on the road"),
    Subtype.CAR_STOPPED: N_("Vehicle stopped on the road"),
    Subtype.FLOOD: N_("Flooded road"),
    Subtype.JAM_HEAVY: N_("Heavy traffic"),
    Subtype.JAM_STANDING: N_("Standing traffic"),
    Subtype.CLOSED_HAZARD: N_("Road closed: danger"),
    Subtype.CLOSED_WORKS: N_("Road closed: works"),
    Subtype.CLOSED_EVENT: N_("Road closed: event"),
}
WAYS: Final = {Way.ONE: N_("One direction"), Way.BOTH: N_("Both directions")}
REFUSED: Final = N_("This cannot be confirmed: give a street and two points at least, latitude before longitude.")

operator: Final = require(Role.OPERATOR, person=True)
Operator = Annotated[Caller, Depends(operator)]
Lang = Annotated[str | None, Query(max_length=8)]
Text = Annotated[str, Form(max_length=200)]


def routes(painter: Painter, board: Board) -> APIRouter:
    """Return the routes of the page and of the feed."""
    router = APIRouter()

    @router.get("/v1/feeds/cifs", dependencies=[Depends(require(*EVERYONE))])
    def cifs() -> dict[str, Any]:
        """What operators confirmed for drivers, as Waze's CIFS in JSON."""
        return incidents(board.standing())

    @router.get("/notices", include_in_schema=False, dependencies=[Depends(staff)])
    def page(request: Request, lang: Lang = None) -> HTMLResponse:
        return _page(painter, board, request, lang)

    @router.post("/notices", include_in_schema=False, dependencies=[Depends(checked_form)])
    def confirm(
        request: Request,
        caller: Operator,
        *,
        subtype: Text,
        street: Text,
        line: Annotated[str, Form(max_length=2000)],
        way: Text,
        minutes: Annotated[int, Form(ge=5, le=1440)],
        description: Text = "",
        lang: Lang = None,
    ) -> Response:
        try:
            content = content_of(subtype, street, line, way, description)
            board.confirm(By.caller(caller), content, None, painter.clock.now_ms() + minutes * 60_000)
        except NoticeRejectedError:
            return _page(painter, board, request, lang, said=REFUSED)
        return _back(painter, request, lang)

    @router.post("/notices/withdraw", include_in_schema=False, dependencies=[Depends(checked_form)])
    def withdraw(request: Request, caller: Operator, notice: Text, lang: Lang = None) -> Response:
        try:
            board.withdraw(By.caller(caller), notice)
        except NoticeRejectedError:
            return _page(painter, board, request, lang)  # it is gone already, which is what was asked for
        return _back(painter, request, lang)

    return router


def _back(painter: Painter, request: Request, lang: str | None) -> RedirectResponse:
    return RedirectResponse(f"{painter.place.root}/notices?lang={language_of(painter, request, lang).code}", 303)


def _page(painter: Painter, board: Board, request: Request, lang: str | None, said: str | None = None) -> HTMLResponse:
    caller = visit_of(request).caller
    about = {
        "notices": board.standing(),
        "subtypes": SUBTYPES,
        "ways": WAYS,
        "said": said,
        "may_act": caller is not None and caller.is_person and caller.has(Role.OPERATOR),
    }
    page = painter.page("notices.html", language_of(painter, request, lang), None, visit=visit_of(request), **about)
    return HTMLResponse(page, 200 if said is None else 400)
