"""Who may say and hear what at the broker: the role matrix, made from the topic registry.

role         says                          hears
box          its own up/…                  its own dn/…
fleet        dn/… of every box, out/…      up/… of every box
consumer-…   nothing                       out/ of its classes, of its controller or of all
…-service    nothing                       what the fleet's table of routes says of the service that its id names
nobody       nothing                       nothing
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import is_slug
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.topics import ROOT, Down, Up, down_topic, up_filter, up_topic

ANY: Final = "+"


class HolderRejectedError(RejectedError):
    """A name, role and controller that do not go together."""


class Role(StrEnum):
    """What the holder of a certificate is."""

    BOX = "box"
    FLEET = "fleet"
    CONTROL_CENTRE = "consumer-control-centre"
    TRAFFIC = "consumer-traffic"
    STATISTICS = "consumer-statistics"
    TECHNICAL = "consumer-technical"
    SERVICE = "consumer-service"


CONSUMES: Final[Mapping[Role, tuple[MessageClass, ...]]] = {
    Role.CONTROL_CENTRE: (MessageClass.STATISTICS, MessageClass.AGGREGATE, MessageClass.EVENT, MessageClass.TECHNICAL),
    Role.TRAFFIC: (MessageClass.STATISTICS, MessageClass.AGGREGATE),
    Role.STATISTICS: (MessageClass.STATISTICS,),
    Role.TECHNICAL: (MessageClass.TECHNICAL,),
}
"""The classes each kind of consumer hears."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a certificate.

    Attributes:
        name: The certificate's common name, and so the account and client id at the broker. A box's is its id; any
            other is ``role.id``, which no box can be called.
        role: What it is.
        controller: Who answers for it; None for one that serves every controller.
    """

    name: str
    role: Role
    controller: str | None


@dataclass(frozen=True, slots=True)
class Rights:
    """Topic filters, and nothing else is allowed: what may be published to, and what may be received."""

    says: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()


def holder_of(role: Role, name: str, controller: str | None) -> Holder:
    """Return the holder that ``name`` of ``role`` is.

    Args:
        role: What it is.
        name: An id.
        controller: An id, or None; a box has one, the fleet none.

    Raises:
        HolderRejectedError: A name that is no id, a box of nobody, or a fleet of somebody.
    """
    if not is_slug(name) or not (controller is None or is_slug(controller)):
        message = "names are a-z, 0-9 and inner hyphens, 32 at most"
        raise HolderRejectedError(message)
    if role is Role.BOX and controller is None:
        message = f"box {name} needs the controller that answers for its cameras"
        raise HolderRejectedError(message)
    if role is Role.FLEET and controller is not None:
        message = "the fleet serves every controller: name none"
        raise HolderRejectedError(message)
    return Holder(name if role is Role.BOX else f"{role.value}.{name}", role, controller)


def rights_of(holder: Holder | None) -> Rights:
    """Return what ``holder`` may do at the broker; nobody: nothing.

    Of a service, what follows from its role alone, which is nothing: the rest is the fleet's to say.
    """
    if holder is None or holder.role is Role.SERVICE:
        return Rights()
    if holder.role is Role.BOX:
        controller = holder.controller or ""
        return Rights(
            says=tuple(up_topic(controller, holder.name, channel) for channel in Up),
            hears=tuple(down_topic(controller, holder.name, channel) for channel in Down),
        )
    if holder.role is Role.FLEET:
        return Rights(
            says=(*(f"{ROOT}/+/+/+/dn/{channel.value}" for channel in Down), f"{ROOT}/+/out/#"),
            hears=(up_filter(),),
        )
    return Rights(
        hears=tuple(f"{ROOT}/{holder.controller or ANY}/out/{kind.value}/#" for kind in CONSUMES[holder.role])
    )


def service_of(holder: Holder) -> str | None:
    """Return the service of the control centre that ``holder`` is; None: it is none."""
    return holder.name.removeprefix(f"{Role.SERVICE.value}.") if holder.role is Role.SERVICE else None
