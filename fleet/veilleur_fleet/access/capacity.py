"""In what capacity somebody comes: an operator, a DPO, or one service of the control centre; and who came how."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from veilleur_contracts.ids import is_slug
from veilleur_fleet.errors import AccessRejectedError


class Role(StrEnum):
    """What kind of work somebody does here."""

    OPERATOR = "operator"
    DPO_VILLE = "dpo-ville"
    DPO_AGGLO = "dpo-agglo"
    CONSUMER = "consumer"


STAFF: Final = (Role.OPERATOR, Role.DPO_VILLE, Role.DPO_AGGLO)
"""Those who see everything the fleet holds; a consumer sees what is routed to its service."""
DPOS: Final = (Role.DPO_VILLE, Role.DPO_AGGLO)
EVERYONE: Final = tuple(Role)
_CONSUMER: Final = "consumer-"


class Access(StrEnum):
    """When people are asked who they are."""

    AUTO = "auto"
    REQUIRED = "required"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Capacity:
    """A role and, of a consumer, its service.

    Attributes:
        role: The role.
        service: The service whose routes decide what a consumer is told; None for every other role.
    """

    role: Role
    service: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``operator``, ``dpo-ville``, ``dpo-agglo`` or ``consumer-<service>``.

        Raises:
            AccessRejectedError: It is none of these.
        """
        service = text.removeprefix(_CONSUMER)
        if service != text and is_slug(service):
            return cls(Role.CONSUMER, service)
        if text in STAFF:
            return cls(Role(text))
        message = f"{text[:64]!r} is no role: give one of {', '.join(STAFF)} or {_CONSUMER}<service>"
        raise AccessRejectedError(message)

    def __str__(self) -> str:
        return self.role.value if self.service is None else f"{_CONSUMER}{self.service}"


class Way(StrEnum):
    """How somebody came in."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105 - a word, no secret
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: The account, or ``token:`` and the token's name; ``open`` where nobody is asked who they are.
        capacity: In what capacity; None where nobody is asked, who may then see everything and sign nothing.
        way: How they came in.
    """

    name: str
    capacity: Capacity | None
    way: Way

    def has(self, *roles: Role) -> bool:
        """Tell whether one of ``roles`` is theirs, or nobody is asked."""
        return self.capacity is None or self.capacity.role in roles

    @property
    def is_person(self) -> bool:
        """Tell whether this is one person known by name: only those act; programs and passers-by look."""
        return self.way is Way.SESSION

    @property
    def service(self) -> str | None:
        """Return the service whose routes decide what they are told; None: they are told everything."""
        return None if self.capacity is None else self.capacity.service


PASSER_BY: Final = Caller("open", None, Way.OPEN)
