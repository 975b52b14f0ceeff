"""The DPO's pages: what each box reports, its audit as the fleet holds it, and the upload of what was signed offline.

/dpo ─▶ /dpo/box/{box} ─▶ report.pdf, report.json        /dpo/box/{box}/audit        /dpo/act ──▶ publish
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response
from starlette.datastructures import UploadFile

from veilleur_contracts.audit import Entry
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_contracts.policy_document import Controller
from veilleur_contracts.report_checks import Lang
from veilleur_contracts.report_paper import Paper, at, paper_of
from veilleur_contracts.report_words import word
from veilleur_fleet.access.actions import Actions, By
from veilleur_fleet.access.capacity import STAFF, Caller, Role
from veilleur_fleet.access.porter import FIELDS_MAX, is_own_form, require, staff, visit_of
from veilleur_fleet.oversight import Look, Oversight
from veilleur_fleet.web.languages import Language
from veilleur_fleet.web.pages import Painter, language_of
from veilleur_fleet.web.words import N_

CONTROLLERS_OF: Final = {Role.DPO_VILLE: (Controller.VILLE.value,), Role.DPO_AGGLO: (Controller.AGGLO.value,)}
"""Whose boxes a DPO sees; everybody else of the staff sees all."""
DOCUMENT_BYTES_MAX: Final = 262_144
NO_FILE: Final = N_("Choose the signed file first.")
TOO_LONG: Final = N_("This file is too long to be a signed document.")
NOT_TAKEN: Final = N_(
    "This fleet cannot send documents to boxes yet: put the file on the box with veilleur-agent offer."
)
REFUSED: Final = N_("Not published: a box would refuse it.")
WHY: Final = {
    "TruncatedDocumentError": N_("The file is cut off: ask whoever signed it for the whole of it."),
    "MalformedDocumentError": N_("The file holds no signed document that a box could read."),
    "WrongTypeError": N_("The file holds another kind of document."),
    "WrongControllerError": N_("It speaks of another controller's boxes."),
    "ForgedError": N_("A signature does not fit: the document or the signature was changed."),
    "UnknownKeyError": N_("It is signed by a key that the root does not know."),
    "UnderSignedError": N_("A signature or an opinion (visa) that it needs is missing."),
    "OlderError": N_("One that is as new, or newer, is in force already."),
    "ExpiredError": N_("Its time is over."),
    "NotYetError": N_("It holds only later, or a clock is wrong."),
    "DraftRejectedError": N_("A field still holds what the template leaves open."),
    "StoreUnavailableError": N_("The database takes nothing just now: try again in a moment."),
}
"""What is said of a refusal in the reader's language, by the name of the error; the exact words are English."""
PUBLISHED: Final = N_("Published: boxes are told within seconds, and verify it again themselves.")

Publish = Callable[[bytes, str, str], object]
"""Publishes a signed document for somebody in a capacity, and notes it; may wait for the disk.

Raises ``RejectedError`` when a box would refuse it, ``TransientError`` when the database does not take it now.
"""
Lang_ = Annotated[str | None, Query(max_length=8)]
Before = Annotated[int | None, Query(ge=0, le=1 << 48)]
acting: Final = require(*STAFF, person=True)
Acting = Annotated[Caller, Depends(acting)]
Looking = Annotated[Caller, Depends(staff)]


@dataclass(frozen=True, slots=True)
class Office:
    """What the DPO's pages are built from.

    Attributes:
        oversight: Answers what is asked.
        actions: Notes what is refused.
        publish: Sends what was signed; None: this fleet does not steer.
    """

    oversight: Oversight
    actions: Actions
    publish: Publish | None = None


def routes(painter: Painter, office: Office) -> APIRouter:
    """Return the routes of the DPO's pages."""
    router = APIRouter(include_in_schema=False, prefix="/dpo")
    _add_looks(router, painter, office)
    _add_papers(router, painter, office)
    _add_acts(router, painter, office)
    return router


def _add_looks(router: APIRouter, painter: Painter, office: Office) -> None:
    @router.get("")
    def overview(request: Request, caller: Looking, lang: Lang_ = None) -> HTMLResponse:
        language = language_of(painter, request, lang)
        looks = office.oversight.looks(_controllers_of(caller), painter.clock.now_ms())
        grouped = [
            (word(controller, _lang(language)), [(commune, list(of)) for commune, of in groupby(some, _commune_of)])
            for controller, some in groupby(looks, lambda one: one.box.controller)
        ]
        return _page(painter, request, "dpo.html", language, groups=grouped)

    @router.get("/box/{box}")
    def one(request: Request, caller: Looking, box: str, lang: Lang_ = None) -> HTMLResponse:
        language = language_of(painter, request, lang)
        look = _look(office, caller, box, painter)
        paper = _paper(look, language)
        return _page(painter, request, "dpo_box.html", language, look=look, paper=paper)

    @router.get("/box/{box}/audit")
    def audit(request: Request, caller: Looking, box: str, before: Before = None, lang: Lang_ = None) -> HTMLResponse:
        language = language_of(painter, request, lang)
        look = _look(office, caller, box, painter)
        logs = office.oversight.audit(look.box, before)
        return _page(painter, request, "dpo_audit.html", language, look=look, logs=logs, said_of=said_of)


def _add_papers(router: APIRouter, painter: Painter, office: Office) -> None:
    @router.get("/box/{box}/report.pdf")
    def pdf(request: Request, caller: Looking, box: str, lang: Lang_ = None) -> Response:
        look = _look(office, caller, box, painter)
        paper = _paper(look, language_of(painter, request, lang))
        if paper is None:
            raise HTTPException(404)
        from veilleur_fleet.report_pdf import pdf_of  # noqa: PLC0415 - fonts, for which no start waits

        return Response(pdf_of(paper), media_type="application/pdf", headers=_named(f"{box}-{paper.lang}.pdf"))

    @router.get("/box/{box}/report.json")
    def raw(caller: Looking, box: str) -> Response:
        look = _look(office, caller, box, painter)
        if look.kept is None:
            raise HTTPException(404)
        return Response(look.kept.raw, media_type="application/json", headers=_named(f"{box}.dsse.json"))


def _add_acts(router: APIRouter, painter: Painter, office: Office) -> None:
    @router.get("/act")
    def ask(request: Request, caller: Looking, lang: Lang_ = None) -> HTMLResponse:
        return _act_page(painter, request, caller, lang, office)

    @router.post("/act")
    async def act(request: Request, caller: Acting, lang: Lang_ = None) -> HTMLResponse:
        async with request.form(max_files=1, max_fields=FIELDS_MAX) as form:
            if not is_own_form(request, form.get("form_token")):
                raise HTTPException(403)
            file = form.get("document")
            data = await file.read(DOCUMENT_BYTES_MAX + 1) if isinstance(file, UploadFile) else b""
        if not data or len(data) > DOCUMENT_BYTES_MAX:
            return _act_page(painter, request, caller, lang, office, said=_Said(TOO_LONG if data else NO_FILE))
        said = await asyncio.to_thread(_publish, office, caller, data)
        return _act_page(painter, request, caller, lang, office, said=said)


@dataclass(frozen=True, slots=True)
class _Said:
    """What came of a file: what to say, why it was not taken, and the exact words of that, in English."""

    what: str = ""
    why: str = ""
    words: str = ""


def _publish(office: Office, caller: Caller, data: bytes) -> _Said:
    """Publish what was signed, and note what is refused."""
    by = By.caller(caller)
    if office.publish is None:
        return _Said(NOT_TAKEN)
    try:
        office.publish(data, by.who, by.capacity)
    except TransientError as error:
        return _Said(WHY["StoreUnavailableError"], words=str(error))
    except RejectedError as error:
        office.actions.note(by, "document.refused", {"why": str(error)[:300]})
        name = getattr(error, "why", "") or type(error).__name__
        return _Said(REFUSED, WHY.get(name, ""), str(error))
    return _Said(PUBLISHED)


def _act_page(
    painter: Painter,
    request: Request,
    caller: Caller,
    lang: str | None,
    office: Office,
    *,
    said: _Said | None = None,
) -> HTMLResponse:
    language = language_of(painter, request, lang)
    role = caller.capacity.role.value if caller.capacity is not None else Role.DPO_VILLE.value
    role = role if role in {Role.DPO_VILLE.value, Role.DPO_AGGLO.value} else Role.DPO_VILLE.value
    values = {
        "said": said,
        "is_good": said is None or said.what == PUBLISHED,
        "role": role,
        "steers": office.publish is not None,
    }
    status = 200 if values["is_good"] else 400
    return _page(painter, request, "dpo_act.html", language, status=status, **values)


def _look(office: Office, caller: Caller, box: str, painter: Painter) -> Look:
    look = office.oversight.look(box, _controllers_of(caller), painter.clock.now_ms())
    if look is None:
        raise HTTPException(404)
    return look


def _controllers_of(caller: Caller) -> tuple[str, ...] | None:
    """Return whose boxes somebody sees; None: everybody's."""
    return None if caller.capacity is None else CONTROLLERS_OF.get(caller.capacity.role)


def _commune_of(look: Look) -> str:
    return ", ".join(look.box.communes)


def _paper(look: Look, language: Language) -> Paper | None:
    if look.kept is None or look.report is None:
        return None
    return paper_of(look.report, look.judgements, look.kept.sha256, _lang(language))


def said_of(entry: Entry) -> tuple[str, str]:
    """Return the kind of an entry, and its fields as a person reads them."""
    struct = entry.what
    kind = str(struct.__struct_config__.tag)
    fields = (f"{name}: {_short(getattr(struct, name))}" for name in struct.__struct_fields__)
    return kind, " · ".join(fields)


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) < 64 else f"{text[:16]}…"  # noqa: PLR2004 - a SHA-256


def _lang(language: Language) -> Lang:
    return "en" if language.code == "en" else "fr"


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="veilleur-{name}"'}


def _page(
    painter: Painter, request: Request, template: str, language: Language, *, status: int = 200, **values: object
) -> HTMLResponse:
    words = {key: word(key, _lang(language)) for key in ("declared", "measured", "outcome", "claim", "proof", "checks")}
    here = f"{painter.place.root}{request.url.path.removeprefix(painter.place.root)}"

    def link(to: str = "", **changes: str) -> str:  # noqa: ARG001 - as the page's own is called
        return f"{here}?lang={changes.get('lang', language.code)}"

    shared = {"words": words, "link": link, "at": at, "kind_of": lambda kind: word(kind, _lang(language))}
    shared |= {"told_of": lambda kind: word(f"told-{kind}", _lang(language))}
    html = painter.page(template, language, None, visit=visit_of(request), **shared, **values)
    return HTMLResponse(html, status)
