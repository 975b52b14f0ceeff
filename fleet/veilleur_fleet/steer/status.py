"""What each box should hold against what it says it holds, in the words of a list."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from veilleur_contracts.clock import datetime_of
from veilleur_contracts.messages import FetchFault, Refusal, Strictness
from veilleur_contracts.policy_document import PolicyRejectedError
from veilleur_contracts.standing import Standing
from veilleur_fleet.steer.desk import standings_in
from veilleur_fleet.store.documents import documents_in, twins_in
from veilleur_fleet.store.tables import boxes, fetches, reported

NOTHING: Final = "-"
PREFIX: Final = 16
NAMES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One box.

    Attributes:
        box: Its name.
        controller: Whose.
        desired: What it should hold: ``policy 3, 1 stop``.
        reported: What it says it holds, in the same words; ``-``: nothing yet.
        heard: When it said so, UTC.
        trouble: Why these are two things; empty when they are one.
    """

    box: str
    controller: str
    desired: str
    reported: str
    heard: str
    trouble: str


def boxes_in(connection: sa.Connection) -> list[Seen]:
    """Return every box, by name."""
    try:
        standings = {controller.value: standing for controller, standing in standings_in(connection).items()}
    except PolicyRejectedError as error:
        raise PolicyRejectedError(f"what was published cannot be verified any more: {error}") from None
    said = {row["box_no"]: row for row in connection.execute(sa.select(*reported.c)).mappings()}
    wanted = {row.box: {sha256[:PREFIX] for _, sha256, _ in row.documents} for row in twins_in(connection).values()}
    lost = {row["box_no"]: row for row in connection.execute(sa.select(*fetches.c)).mappings()}
    names = {row.sha256[:PREFIX]: row.content[:PREFIX] for row in documents_in(connection, NAMES_MAX)}
    found = connection.execute(sa.select(boxes.c.box_no, boxes.c.box, boxes.c.controller).order_by(boxes.c.box)).all()
    return [
        _seen(
            (box, controller),
            standings.get(controller),
            said.get(number),
            _still(lost.get(number), wanted.get(box)),
            names,
        )
        for number, box, controller in found
    ]


def _still(lost: sa.RowMapping | None, wanted: set[str] | None) -> sa.RowMapping | None:
    """Return what could not be fetched, unless it is no longer wanted."""
    return lost if lost is not None and lost["document"] in (wanted or ()) else None


def _seen(
    whose: tuple[str, str],
    standing: Standing | None,
    said: sa.RowMapping | None,
    lost: sa.RowMapping | None,
    names: Mapping[str, str],
) -> Seen:
    desired = NOTHING if standing is None else _words(_version(standing), len(standing.stops))
    if said is None:
        trouble = "" if standing is None else "it has not said what it holds"
        return Seen(*whose, desired, NOTHING, NOTHING, trouble)
    told = _words(said["policy_version"], said["stops"])
    heard = f"{datetime_of(said['at_s'] * 1000):%Y-%m-%dT%H:%M:%SZ}"
    return Seen(*whose, desired, told, heard, _trouble(standing, said, lost, names))


def _trouble(
    standing: Standing | None, said: sa.RowMapping, lost: sa.RowMapping | None, names: Mapping[str, str]
) -> str:
    """Say what is in the way; documents are called by what was signed, as everywhere, where the fleet knows them."""
    if standing is None:
        return ""
    parts = []
    if said["root"] != standing.root.version:
        parts.append(f"root {said['root']} instead of {standing.root.version}" if said["root"] else "not enrolled")
    if _words(said["policy_version"], said["stops"]) != _words(_version(standing), len(standing.stops)):
        parts.append("it holds something else")
    if said["why"] != Strictness.NONE and not (said["why"] == Strictness.STOPPED and standing.stops):
        parts.append(f"strict: {_word(Strictness(said['why']).name)}")
    if parts and said["refusal"] != Refusal.NONE:
        parts.append(f"refused {names.get(said['refused'], said['refused'])}: {_word(Refusal(said['refusal']).name)}")
    if lost is not None and lost["fault"] != FetchFault.NONE:
        name = names.get(lost["document"], lost["document"])
        parts.append(f"cannot fetch {name}: {_word(FetchFault(lost['fault']).name)}, {lost['tries']} times")
    return "; ".join(parts)


def _version(standing: Standing) -> int:
    return 0 if standing.policy is None else standing.policy.version


def _words(version: int, stops: int) -> str:
    policy = f"policy {version}" if version else "no policy"
    return policy if not stops else f"{policy}, {stops} stop{'s' if stops > 1 else ''}"


def _word(name: str) -> str:
    return name.lower().replace("_", "-")
