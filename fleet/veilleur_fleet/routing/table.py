"""Keep the routing table and the authorisations it rests on; every change is noted in the same transaction."""

import itertools
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from veilleur_contracts.clock import Clock
from veilleur_contracts.policy_document import Controller, Policy, PolicyRejectedError
from veilleur_fleet.access.actions import By, What, note
from veilleur_fleet.routing.filters import FILTERS_MAX, filters_of
from veilleur_fleet.routing.rules import (
    GROUNDS_MAX,
    Ground,
    Route,
    RoutesRejectedError,
    Routing,
    check_routes,
    grounds_of,
)
from veilleur_fleet.steer.desk import standings_in
from veilleur_fleet.store.documents import standing_of

routes: Final = sa.table("routes", sa.column("route_no"), sa.column("route"))
grounds: Final = sa.table("grounds", sa.column("ground_no"), sa.column("ground"))


class RoutingTable:
    """The table in the database."""

    def __init__(self, readers: sa.Engine, desk: sa.Engine, clock: Clock) -> None:
        self._readers = readers
        self._desk = desk
        self._clock = clock
        self._steered: tuple[tuple[tuple[Controller, str, int], ...], dict[Controller, tuple[Ground, ...]]] = ((), {})

    def routing(self) -> Routing:
        """Return what is in force; of a controller that the fleet steers, the grounds are those of its policy."""
        with self._readers.connect() as connection:
            kept, steered = _routing_of(connection), self._steered_grounds(connection)
        given = [_narrowed(one, one.scope.controllers - steered.keys()) for one in kept.grounds]
        known = [one for one in given if one.scope.controllers]
        return Routing(kept.routes, (*known, *itertools.chain.from_iterable(steered.values())))

    def filters(self, service: str, controller: str | None) -> tuple[str, ...]:
        """Return what ``service`` may hear at the broker, of one controller's boxes or (None) of all."""
        with self._readers.connect() as connection:
            return filters_of(_routing_of(connection).of(service), controller)

    def _steered_grounds(self, connection: sa.Connection) -> dict[Controller, tuple[Ground, ...]]:
        """Return the authorisations of each policy the fleet steers by; verified again when another was published."""
        rows = {controller: standing_of(connection, controller.value) for controller in Controller}
        mark = tuple((name, row.pinned, row.changed_ms) for name, row in rows.items() if row is not None)
        if mark != self._steered[0]:
            try:
                standings = standings_in(connection)
            except PolicyRejectedError:
                standings = {}  # tampered with: then nothing rests on it
            policies = {name: standings[name].policy if name in standings else None for name, _, _ in mark}
            found = {
                name: () if policy is None else tuple(_narrowed(one, frozenset({name})) for one in grounds_of(policy))
                for name, policy in policies.items()
            }
            self._steered = (mark, found)
        return self._steered[1]

    def put(self, by: By, table: Sequence[Route]) -> None:
        """Put another table in force.

        Raises:
            RoutesRejectedError: It cannot be used.
        """
        check_routes(table)
        for service in sorted({route.service for route in table}):
            many = len(filters_of(route for route in table if route.service == service))
            if many > FILTERS_MAX:
                raise RoutesRejectedError(
                    f"the routes of {service} come to {many} topics, and a broker takes {FILTERS_MAX} of one service at"
                    " most: name fewer communes, or leave them out to mean all"
                )
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


def _narrowed(ground: Ground, controllers: frozenset[Controller]) -> Ground:
    return msgspec.structs.replace(ground, scope=msgspec.structs.replace(ground.scope, controllers=controllers))


def _text(document: msgspec.Struct) -> str:
    return msgspec.json.encode(document, order="sorted").decode("utf-8")
