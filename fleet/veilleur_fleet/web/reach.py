"""How far a caller sees: everything, or what the routes of its service let through."""

from fastapi import Request

from veilleur_contracts.messages import AnyRecord, Context, MessageClass
from veilleur_fleet.access.porter import visit_of
from veilleur_fleet.routing.rules import Purpose, purposes_told
from veilleur_fleet.routing.subjects import subject_of
from veilleur_fleet.routing.table import RoutingTable
from veilleur_fleet.store.counts import Area
from veilleur_fleet.store.past import Passes


class Reach:
    """Reads the table in force at each question: a change holds at once."""

    def __init__(self, table: RoutingTable) -> None:
        self._table = table

    def passes(self, service: str | None) -> Passes | None:
        """Return what tells whether ``service`` is told a record; None: it is told everything."""
        if service is None:
            return None
        routing = self._table.routing().only(service)

        def passes(kind: MessageClass, controller: str, record: AnyRecord, context: Context | None) -> bool:
            return routing.tells(service, subject_of(kind, controller, record, context))

        return passes

    def areas(self, service: str | None) -> tuple[Area, ...] | None:
        """Return where the counts lie that ``service`` is told of; None: everywhere."""
        if service is None:
            return None
        told = purposes_told(self._table.routing().of(service), MessageClass.STATISTICS, Purpose.MOBILITY)
        return tuple(Area(route.controllers, route.communes) for route in told)


def service_of(request: Request) -> str | None:
    """Return the service for which somebody asks; None: for the fleet's own people."""
    caller = visit_of(request).caller
    return None if caller is None else caller.service
