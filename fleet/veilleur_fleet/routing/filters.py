"""What a service may hear at the broker: its routes, as topic filters.

    route ──▶ controllers · communes · kinds of its purposes ──▶ veilleur/v1/{controller}/out/{class}/{insee}/+/{kind}

The last part of a topic is the kind of its record, and a record's purpose follows from its kind, so filters are as
exact as routes. Not so for class E: what it rests on covers some events for some days, of which topics and access lists
know nothing, so class E is told by REST and server-sent events alone.
"""

from collections.abc import Iterable
from typing import Final

from veilleur_contracts.messages import CLASS_OF, Context, MessageClass
from veilleur_contracts.topics import out_technical_topic, out_topic
from veilleur_fleet.routing.rules import Route
from veilleur_fleet.routing.subjects import PURPOSE_OF
from veilleur_fleet.store.kinds import NAME_OF

FILTERS_MAX: Final = 4096
"""For one service: the broker goes through them for every message."""
ANY: Final = "+"


def filters_of(routes: Iterable[Route], controller: str | None = None) -> tuple[str, ...]:
    """Return the topic filters that let through what ``routes`` let through, class E apart.

    Args:
        routes: Of one service.
        controller: Only of boxes of this one; None: as the routes say.
    """
    found = set[str]()
    for route in routes:
        for whose in _controllers_of(route, controller):
            found |= _filters_of(route, whose)
    return tuple(sorted(found))


def _controllers_of(route: Route, controller: str | None) -> Iterable[str]:
    if controller is None:
        return route.controllers or (ANY,)
    return (controller,) if not route.controllers or controller in route.controllers else ()


def _filters_of(route: Route, controller: str) -> set[str]:
    key = NAME_OF[Context]  # whatever is routed cannot be read without it
    found = set[str]()
    for insee in route.communes or (ANY,):
        found.add(out_topic(controller, CLASS_OF[Context], insee, ANY, key))
        for kind in route.classes & {MessageClass.STATISTICS, MessageClass.AGGREGATE}:
            found |= {out_topic(controller, kind, insee, ANY, name) for name in _names_of(route, kind)}
    if MessageClass.TECHNICAL in route.classes and not route.communes:  # a whole box lies in no commune
        names = _names_of(route, MessageClass.TECHNICAL)
        found |= {out_technical_topic(controller, ANY, name) for name in names}
    return found


def _names_of(route: Route, kind: MessageClass) -> set[str]:
    """Return what topics call the records of ``kind`` that are for one of the route's purposes; a Gap is of class T."""
    return {
        NAME_OF[record]
        for record, purpose in PURPOSE_OF.items()
        if purpose in route.purposes and CLASS_OF.get(record, MessageClass.TECHNICAL) is kind
    }
