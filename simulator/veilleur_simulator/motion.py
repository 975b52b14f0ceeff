"""Who is where and when: a scenario unrolled into legs walked at an even pace, the same for each seed.

Scenario ─▶ journeys_of ─▶ Journey (legs) ─┬▶ street: where to draw
                                           └▶ truth: what was crossed
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from veilleur_contracts.messages import Label
from veilleur_simulator.errors import ScenarioRejectedError
from veilleur_simulator.scenario import Flow, Ground, Scenario, User, label_of

JOURNEYS_MAX: Final = 20_000

SIZE_M: Final[dict[Label, tuple[float, float]]] = {
    Label.PERSON: (0.7, 1.75),
    Label.BICYCLE: (1.7, 1.8),
    Label.CAR: (4.2, 1.6),
    Label.MOTORCYCLE: (2.0, 1.7),
    Label.BUS: (11.0, 3.1),
    Label.TRUCK: (8.0, 3.4),
}
"""Width and height of each sprite, metres."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A stretch of a journey at one speed, or a wait (both ends the same).

    Attributes:
        from_s: When it begins.
        to_s: When it ends, later than ``from_s``.
        start: Ground point, metres.
        end: Ground point, metres.
    """

    from_s: float
    to_s: float
    start: Ground
    end: Ground

    @property
    def speed_mps(self) -> float:
        """Speed on the ground."""
        return math.dist(self.start, self.end) / (self.to_s - self.from_s)

    def at(self, at_s: float) -> Ground:
        """Return the ground point at ``at_s``."""
        share = (at_s - self.from_s) / (self.to_s - self.from_s)
        (x0, z0), (x1, z1) = self.start, self.end
        return x0 + (x1 - x0) * share, z0 + (z1 - z0) * share


@dataclass(frozen=True, slots=True)
class Journey:
    """One road user from its coming to its going; there from the first leg's start, gone at the last one's end."""

    label: Label
    legs: tuple[Leg, ...]

    @property
    def from_s(self) -> float:
        """When it comes."""
        return self.legs[0].from_s

    @property
    def to_s(self) -> float:
        """When it is gone."""
        return self.legs[-1].to_s

    def at(self, at_s: float) -> Ground | None:
        """Return where it stands at ``at_s``, metres; None when it is not there."""
        if not self.from_s <= at_s < self.to_s:
            return None
        index = bisect.bisect_right(self.legs, at_s, key=lambda leg: leg.from_s) - 1
        return self.legs[index].at(at_s)


def journeys_of(scenario: Scenario) -> tuple[Journey, ...]:
    """Unroll ``scenario``; what chance decides is decided by its seed.

    Raises:
        ScenarioRejectedError: More than ``JOURNEYS_MAX`` road users.
    """
    end_s = scenario.street.seconds
    users = list(scenario.user)
    for index, flow in enumerate(scenario.flow):
        users += _drawn(flow, end_s, np.random.default_rng([scenario.street.seed, index]))
        if len(users) > JOURNEYS_MAX:
            raise ScenarioRejectedError(
                f"{scenario.street.name}: more than {JOURNEYS_MAX} road users; use longer every_s"
            )
    journeys = [Journey(label_of(user.label), _legs_of(user)) for user in users]
    for one in scenario.standing:
        to_s = end_s if one.to_s is None else one.to_s
        journeys.append(Journey(label_of(one.label), (Leg(one.from_s, to_s, one.at, one.at),)))
    return tuple(journeys)


def _legs_of(user: User) -> tuple[Leg, ...]:
    legs: list[Leg] = []
    now_s = user.enters_s
    for index, point in enumerate(user.path):
        wait_s = user.waits_s[index] if index < len(user.waits_s) else 0.0
        if wait_s > 0.0:
            legs.append(Leg(now_s, now_s + wait_s, point, point))
            now_s += wait_s
        if index + 1 < len(user.path):
            to_s = now_s + math.dist(point, user.path[index + 1]) / user.speed_mps
            legs.append(Leg(now_s, to_s, point, user.path[index + 1]))
            now_s = to_s
    return tuple(legs)


def _drawn(flow: Flow, end_s: float, chance: np.random.Generator) -> list[User]:
    """Draw one road user after another: a fixed least gap plus an exponential wait."""
    last_s = end_s if flow.to_s is None else flow.to_s
    users: list[User] = []
    at_s = flow.from_s
    while len(users) <= JOURNEYS_MAX:
        at_s += flow.gap_s + float(chance.exponential(max(flow.every_s - flow.gap_s, 0.0)))
        if at_s >= last_s:
            break
        path = flow.path[::-1] if flow.both_ways and chance.random() < 0.5 else flow.path  # noqa: PLR2004 - one in two
        speed_mps = float(chance.uniform(*flow.speed_mps))
        beside_m = float(chance.uniform(-flow.spread_m, flow.spread_m))
        users.append(User(flow.label, _beside(path, beside_m), at_s, speed_mps))
    return users


def _beside(path: Sequence[Ground], by_m: float) -> tuple[Ground, ...]:
    """Move a path sideways, across its overall direction."""
    (x0, z0), (x1, z1) = path[0], path[-1]
    length = math.hypot(x1 - x0, z1 - z0)
    if length == 0.0:
        return tuple(path)
    across = (-(z1 - z0) / length * by_m, (x1 - x0) / length * by_m)
    return tuple((x + across[0], z + across[1]) for x, z in path)
