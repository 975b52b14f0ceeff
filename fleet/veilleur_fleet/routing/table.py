"""Keep the routing table and the authorisations it rests on; every change is noted in the same transaction."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from veilleur_contracts.clock import Clock
from veilleur_contracts.policy_document import Policy
from veilleur_fleet.access.actions import By, What, note
from veilleur_fleet.routing.rules import (
    GROUNDS_MAX,
    Ground,
    Route,
    RoutesRejectedError,
    Routing,
    check_routes,
    grounds_of,
)

routes: Final = sa.table("routes", sa.column("route_no"), sa.column("route"))
grounds: Final = sa.table("grounds", sa.column("ground_no"), sa.column("ground"))


class RoutingTable:
    """The table in the database."""

    def __init__(self, readers: sa.Engine, desk: sa.Engine, clock: Clock) -> None:
        self._readers = readers
        self._desk = desk
        self._clock = clock

    def routing(self) -> Routing:
        """Return what is in force."""
        with self._readers.connect() as connection:
            return _routing_of(connection)

    def put(self, by: By, table: Sequence[Route]) -> None:
        """Put another table in force.

        Raises:
            RoutesRejectedError: It cannot be used.
        """
        check_routes(table)
        rows = [{"route_no": number, "route": _text(route)} for number, route in enumerate(table, start=1)]
        services = ",".join(sorted({route.service for route in table}))[:1000]
        with self._desk.begin() as connection:
            connection.execute(sa.delete(routes))
            if rows:
                connection.execute(sa.insert(routes), rows)
            note(connection, self._clock.now_ms(), by, "routes.changed", {"routes": len(rows), "services": services})

    def put_grounds(self, by: By, policy: Policy) -> int:
        """Take the authorisations of ``policy`` instead of those known of its controllers; return how many there are.

        Raises:
            RoutesRejectedError: There would be too many.
        """
        with self._desk.begin() as connection:
            known = _routing_of(connection).grounds
            kept = [one for one in known if not one.scope.controllers & policy.scope.controllers]
            taken = grounds_of(policy)
            if len(kept) + len(taken) > GROUNDS_MAX:
                raise RoutesRejectedError(f"more than {GROUNDS_MAX} authorisations are not kept")
            connection.execute(sa.delete(grounds))
            rows = [{"ground_no": n, "ground": _text(one)} for n, one in enumerate((*kept, *taken), start=1)]
            if rows:
                connection.execute(sa.insert(grounds), rows)
            whose = ",".join(sorted(policy.scope.controllers))
            what: What = {"policy": policy.version, "controllers": whose, "authorisations": len(taken)}
            note(connection, self._clock.now_ms(), by, "grounds.taken", what)
        return len(taken)


def _routing_of(connection: sa.Connection) -> Routing:
    told = connection.execute(sa.select(routes.c.route).order_by(routes.c.route_no)).scalars().all()
    resting = connection.execute(sa.select(grounds.c.ground).order_by(grounds.c.ground_no)).scalars().all()
    return Routing(
        tuple(msgspec.json.decode(text, type=Route) for text in told),
        tuple(msgspec.json.decode(text, type=Ground) for text in resting),
    )


def _text(document: msgspec.Struct) -> str:
    return msgspec.json.encode(document, order="sorted").decode("utf-8")
