"""Days that are kept for justice beyond their time: put down by two persons on the spot, read by the eye, which obeys.

    veilleur-agent clips freeze ──audit──▶ documents/freezes/avenue.2026-05-01.json ──▶ eye ─▶ retention

A freeze has a reference, two persons and a last day. It keeps what is there; it allows nothing new to be kept.
"""

import contextlib
import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_agent.atomic import replace_file
from veilleur_agent.eye.retention import FREEZE_DAYS_MAX, CameraDay
from veilleur_contracts.audit import Words
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import CameraId

FREEZES_MAX: Final = 1024
FREEZE_BYTES_MAX: Final = 4096
DAMAGED_HOLDS: Final = timedelta(days=31)
"""How long after its day a freeze that cannot be read still holds: time to put it down again."""
_NAME: Final = re.compile(r"^([a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?)\.([0-9]{4}-[0-9]{2}-[0-9]{2})\.json$")


class FreezeRejectedError(RejectedError):
    """A freeze that cannot be put down; the sentence says why."""


class Freeze(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That one camera's day is kept for justice.

    Attributes:
        camera: Which camera.
        day: Which day, UTC.
        until: Last day on which it is kept.
        reference: Of the order: a requisition, a case number.
        persons: The two who put it down.
    """

    camera: CameraId
    day: date
    until: date
    reference: Words
    persons: Annotated[tuple[Words, Words], Meta(description="two different persons")]


def freezes_of(state: Path) -> Path:
    """Return the folder of freezes of a box."""
    return state.resolve() / "documents" / "freezes"


def check_freeze(freeze: Freeze, today: date) -> None:
    """Refuse what the types alone let through.

    Raises:
        FreezeRejectedError: One person twice, or a last day that is past or too far ahead.
    """
    first, second = (" ".join(person.split()).casefold() for person in freeze.persons)
    if first == second:
        raise FreezeRejectedError("a freeze is put down by two persons: give --person twice, with two names")
    if not freeze.day <= today <= freeze.until:
        raise FreezeRejectedError(f"the day must have begun, and the last day of the freeze ({freeze.until}) must come")
    if freeze.until - today > timedelta(days=FREEZE_DAYS_MAX):
        raise FreezeRejectedError(f"a freeze lasts at most {FREEZE_DAYS_MAX} days: put it down again when it ends")


def check_room(folder: Path, freeze: Freeze) -> None:
    """Refuse one freeze too many.

    Raises:
        FreezeRejectedError: There are too many.
    """
    if len({path.name for path in folder.glob("*.json")} - {_name_of(freeze.camera, freeze.day)}) >= FREEZES_MAX:
        raise FreezeRejectedError(f"{FREEZES_MAX} days are frozen already: release one first")


def put_freeze(folder: Path, freeze: Freeze) -> None:
    """Put a freeze where the eye reads it.

    Raises:
        OSError: The disk refuses.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    replace_file(folder / _name_of(freeze.camera, freeze.day), msgspec.json.encode(freeze), 0o644)


def remove_freeze(folder: Path, camera: str, day: date) -> None:
    """Take a freeze away; one that is gone already is no fault.

    Raises:
        OSError: The disk refuses.
    """
    (folder / _name_of(camera, day)).unlink(missing_ok=True)


def read_freezes(folder: Path) -> Mapping[CameraDay, Freeze | None]:
    """Return the freezes that lie in ``folder``, None for one that cannot be read.

    Raises:
        OSError: The folder is there and cannot be read.
    """
    found: dict[CameraDay, Freeze | None] = {}
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return found
    for path in paths[: 2 * FREEZES_MAX]:
        named = _NAME.fullmatch(path.name)
        with contextlib.suppress(ValueError):  # the name holds no date
            if named is not None:
                camera_day = named[1], date.fromisoformat(named[2])
                found[camera_day] = _read(path, camera_day)
    return found


def last_days_of(freezes: Mapping[CameraDay, Freeze | None]) -> dict[CameraDay, date]:
    """Return the last day of each freeze, as retention asks for it."""
    return {key: key[1] + DAMAGED_HOLDS if freeze is None else freeze.until for key, freeze in freezes.items()}


def _name_of(camera: str, day: date) -> str:
    return f"{camera}.{day}.json"


def _read(path: Path, named: CameraDay) -> Freeze | None:
    try:
        with path.open("rb") as file:
            freeze = msgspec.json.decode(file.read(FREEZE_BYTES_MAX), type=Freeze)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return freeze if (freeze.camera, freeze.day) == named else None
