"""The page: drawn by the server as a whole, then followed part by part with server-sent events.

commit ──touch──▶ Live ──▶ Drawing (one for all who look at the same) ──part: html──▶ browsers
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from types import CodeType  # noqa: TC003 - one name is not worth a TYPE_CHECKING block
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from jinja2 import BytecodeCache, Environment, FunctionLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from veilleur_contracts.clock import Clock
from veilleur_fleet.access.capacity import EVERYONE
from veilleur_fleet.access.porter import Visit, require, staff, visit_of
from veilleur_fleet.web import words
from veilleur_fleet.web.api import described
from veilleur_fleet.web.languages import Language, chosen
from veilleur_fleet.web.live import Live, TooManyReadersError
from veilleur_fleet.web.sight import PERIODS_S, Scope, look

PARTS: Final = ("summary", "chart", "cameras")
DRAWINGS_KEPT: Final = 64
REDRAW_S: Final = 10.0
"""A page that nothing is said to is drawn again this often: a camera that falls silent must be seen to."""
PACE_S: Final = 1.0
REST: Final = 4.0
"""How many times as long as a drawing took the next one waits: a city's day takes 0.25 s [measured]."""
PAGE_MAX: Final = 9999

Period = Annotated[str, Query(pattern=f"^(?:{'|'.join(PERIODS_S)})$")]
Wanted = Annotated[str, Query(max_length=32, pattern="^[a-z0-9-]*$")]
Page = Annotated[int, Query(ge=0, le=PAGE_MAX)]


@dataclass(frozen=True, slots=True)
class Place:
    """What the pages need to know of where they are served.

    Attributes:
        root: Path under which a proxy serves us, without a slash at its end.
        broker: Address of the broker, without credentials.
        zone: Name of the readers' time zone.
    """

    root: str
    broker: str
    zone: str


@dataclass(frozen=True, slots=True)
class _Drawing:
    version: int
    at_s: float
    parts: Mapping[str, str]


class Painter:
    """Draws parts of the page; keeps ``DRAWINGS_KEPT`` of them, so that many who look at the same cost one."""

    def __init__(
        self,
        readers: sa.Engine,
        languages: Mapping[str, Language],
        *,
        live: Live,
        clock: Clock,
        place: Place,
        connected: Callable[[], bool],
    ) -> None:
        self.languages = languages
        self._connected = connected
        self.live = live
        self.place = place
        self._readers = readers
        self.clock = clock
        self._drawings: dict[tuple[str, Scope], _Drawing] = {}
        self._lock = asyncio.Lock()
        self._environments = {code: environment_of(language) for code, language in languages.items()}

    async def parts(self, language: Language, scope: Scope) -> Mapping[str, str]:
        """Return the parts of the page for ``scope``, drawn now or lately enough."""
        async with self._lock:
            key, now_s = (language.code, scope), self.clock.elapsed_s()
            drawing = self._drawings.pop(key, None)
            if drawing is None or drawing.version != self.live.version or now_s - drawing.at_s >= REDRAW_S / 2:
                version = self.live.version
                drawing = _Drawing(version, now_s, await asyncio.to_thread(self._draw, language, scope))
            self._drawings[key] = drawing
            while len(self._drawings) > DRAWINGS_KEPT:
                self._drawings.pop(next(iter(self._drawings)))
            return drawing.parts

    def page(
        self, name: str, language: Language, scope: Scope | None, /, *, visit: Visit | None = None, **values: object
    ) -> str:
        """Draw a whole page from ``name``; of ``visit`` it shows who looks, and its forms carry its token."""
        template = self._environments[language.code].get_template(name)
        return template.render(self._about(language, scope or Scope()), visit=visit, **values)

    def _draw(self, language: Language, scope: Scope) -> Mapping[str, str]:
        about = self._about(language, scope)
        about |= {"sight": look(self._readers, scope, self.clock.now_ms()), "connected": self._connected()}
        environment = self._environments[language.code]
        return {name: environment.get_template(f"{name}.html").render(about) for name in PARTS}

    def _about(self, language: Language, scope: Scope) -> dict[str, object]:
        return {
            "language": language,
            "languages": list(self.languages.values()),
            "root": self.place.root,
            "broker": self.place.broker,
            "zone": self.place.zone,
            "scope": scope,
            "link": _linker(self.place.root, language, scope),
            "part_names": PARTS,
        }


class _Compiled(BytecodeCache):
    """Keeps what each template was compiled to: every language has the same templates."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._codes[bucket.key, bucket.checksum] = bucket.code


@cache
def _compiled() -> _Compiled:
    return _Compiled()


def environment_of(language: Language) -> Environment:
    """Return the templates in ``language``, strict about names they do not know and escaping what they show."""

    def source(name: str) -> str:
        return (resources.files("veilleur_fleet.web") / "templates" / name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(source),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_compiled(),
    )
    install: Callable[..., None] = vars(environment)["install_gettext_callables"]
    install(language.gettext, language.ngettext, newstyle=True)
    environment.globals |= {
        "number": language.number,
        "percent": language.percent,
        "time": language.time,
        "minute": language.minute,
        "day": language.day,
        "labels": words.LABELS,
        "directions": words.DIRECTIONS,
        "states": words.STATES,
        "silent": words.SILENT,
        "qualities": words.QUALITIES,
        "faults": words.FAULTS,
        "periods": words.PERIODS,
    }
    return environment


def routes(painter: Painter, app: FastAPI) -> APIRouter:
    """Return the page's routes; ``app`` is asked for the description of the REST interface."""
    router = APIRouter(include_in_schema=False)

    @router.get("/", dependencies=[Depends(staff)])
    async def index(
        request: Request, period: Period = "24h", q: Wanted = "", page: Page = 0, lang: str | None = None
    ) -> HTMLResponse:
        language, scope = language_of(painter, request, lang), Scope(period, q, page)
        parts = await painter.parts(language, scope)
        drawn = {name: Markup(html) for name, html in parts.items()}  # noqa: S704 - drawn by our own templates, which escape
        return HTMLResponse(painter.page("look.html", language, scope, visit=visit_of(request), parts=drawn))

    @router.get("/live", dependencies=[Depends(staff)])
    async def live(
        request: Request, period: Period = "24h", q: Wanted = "", page: Page = 0, lang: str | None = None
    ) -> Response:
        try:
            painter.live.check_room()
        except TooManyReadersError:
            return PlainTextResponse("too many follow live already; try again later", 503, {"Retry-After": "30"})
        events = _events(painter, language_of(painter, request, lang), Scope(period, q, page))
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @router.get("/docs", dependencies=[Depends(require(*EVERYONE))])
    async def docs(request: Request, lang: str | None = None) -> HTMLResponse:
        language, visit = language_of(painter, request, lang), visit_of(request)
        return HTMLResponse(painter.page("docs.html", language, None, visit=visit, described=described(app.openapi())))

    return router


def trouble(painter: Painter, request: Request, status: int) -> HTMLResponse:
    """Return a page that says so when there is nothing to show."""
    language = language_of(painter, request, request.query_params.get("lang"))
    return HTMLResponse(painter.page("trouble.html", language, None, visit=visit_of(request), status=status), status)


async def _events(painter: Painter, language: Language, scope: Scope) -> AsyncIterator[bytes]:
    """Yield what changed, at most once in ``PACE_S``; a word at least every ``REDRAW_S``, so that no proxy hangs up."""
    sent: Mapping[str, str] = {}
    loop = asyncio.get_running_loop()
    async with painter.live.reader():
        while not painter.live.closed:
            seen, began_s = painter.live.version, loop.time()
            parts = await painter.parts(language, scope)
            took_s = loop.time() - began_s
            changed = [name for name in PARTS if sent.get(name) != parts[name]]
            for name in changed:
                data = msgspec.json.encode({"part": name, "html": parts[name]})
                yield b"event: part\ndata: " + data + b"\n\n"
            if not changed:
                yield b": still here\n\n"
            sent = parts
            await painter.live.wait(seen, REDRAW_S)
            if not painter.live.closed:
                await asyncio.sleep(max(PACE_S, min(REST * took_s, REDRAW_S)))


def language_of(painter: Painter, request: Request, asked: str | None) -> Language:
    """Return the language a reader wants."""
    return chosen(painter.languages, asked, request.headers.get("accept-language"))


def _linker(root: str, language: Language, scope: Scope) -> Callable[..., str]:
    """Return what makes a link to the page as it is, but for what it is told to change."""

    def link(to: str = "", **changes: Any) -> str:
        lang = changes.pop("lang", language.code)
        if "q" in changes:
            changes["wanted"] = changes.pop("q")
        if "period" not in changes and "page" not in changes:
            changes["page"] = scope.page if to or lang != language.code else 0
        wanted = replace(scope, **changes)
        query = {"lang": lang, "period": wanted.period, "q": wanted.wanted, "page": wanted.page or ""}
        return f"{root}/{to}?{urlencode({name: value for name, value in query.items() if value})}"

    return link
