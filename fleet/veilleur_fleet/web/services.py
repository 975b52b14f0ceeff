"""The page that shows which service of the control centre is told what, and what that rests on."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse

from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import EventKind
from veilleur_fleet.access.capacity import EVERYONE
from veilleur_fleet.access.porter import require, visit_of
from veilleur_fleet.routing.rules import Purpose, Service
from veilleur_fleet.routing.table import RoutingTable
from veilleur_fleet.web.pages import Painter, language_of
from veilleur_fleet.web.reach import service_of
from veilleur_fleet.web.words import N_

SERVICES: Final[dict[str, str]] = {
    Service.URBAN_CCTV: N_("Inter-urban CCTV"),
    Service.FLOOD_RISK: N_("Flood risk"),
    Service.TRAFFIC_CONTROL: N_("Traffic control"),
    Service.CITIZEN_REPORTS: N_("Citizen reports"),
    Service.MUNICIPAL_POLICE: N_("Municipal police"),
    Service.CRISIS_ROOM: N_("Crisis room"),
}
CLASSES: Final = {
    MessageClass.TECHNICAL: N_("T: health"),
    MessageClass.STATISTICS: N_("S: statistics"),
    MessageClass.AGGREGATE: N_("A: state of roads"),
    MessageClass.EVENT: N_("E: events"),
}
PURPOSES: Final = {
    Purpose.MOBILITY: N_("mobility"),
    Purpose.TRAFFIC: N_("traffic"),
    Purpose.PARKING: N_("parking"),
    Purpose.CLEANLINESS: N_("cleanliness"),
    Purpose.ROAD_SAFETY: N_("road safety"),
    Purpose.FLOOD: N_("levels of water"),
    Purpose.NOISE: N_("levels of noise"),
    Purpose.LIGHTING: N_("levels of light"),
    Purpose.UPKEEP: N_("upkeep"),
}
EVENTS: Final = {
    EventKind.STOPPED_VEHICLE: N_("stopped vehicle"),
    EventKind.BULKY_OBJECT: N_("bulky object"),
    EventKind.WRONG_WAY: N_("wrong way"),
}


def routes(painter: Painter, table: RoutingTable) -> APIRouter:
    """Return the route of the page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/services", dependencies=[Depends(require(*EVERYONE))])
    def services(request: Request, lang: Annotated[str | None, Query(max_length=8)] = None) -> HTMLResponse:
        language, own, routing = language_of(painter, request, lang), service_of(request), table.routing()
        names: list[str] = [own] if own else [*Service, *sorted({one.service for one in routing.routes} - set(Service))]
        about = {
            "told": [(name, SERVICES.get(name), routing.of(name)) for name in names],
            "grounds": [] if own else routing.grounds,
            "classes": CLASSES,
            "purposes": PURPOSES,
            "events": EVENTS,
        }
        return HTMLResponse(painter.page("services.html", language, None, visit=visit_of(request), **about))

    return router
