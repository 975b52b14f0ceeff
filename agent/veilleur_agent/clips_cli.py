"""The commands for what a box keeps: look at it, take it out with a reason, keep a day for justice, let it go again."""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from veilleur_agent.clip_facts import age_of, measure
from veilleur_agent.clip_store import ClipStore, Still
from veilleur_agent.errands import check_user, write_down
from veilleur_agent.freezes import (
    Freeze,
    FreezeRejectedError,
    check_freeze,
    check_room,
    freezes_of,
    put_freeze,
    read_freezes,
    remove_freeze,
)
from veilleur_agent.plan import clips_of
from veilleur_agent.settings import settings_of
from veilleur_contracts.audit import ClipsExported, ClipsFrozen, ClipsReleased
from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import is_slug

WORDS_MAX: Final = 120
PERSONS: Final = 2
CLOCK_NOT_SET: Final = (
    "No time source holds the clock of this box, so no still is kept: look at chrony or systemd-timesyncd; where the "
    "host keeps the time of a container, start the agent with VEILLEUR_TRUST_CLOCK=true."
)

clips_app = typer.Typer(
    no_args_is_help=True,
    help="Kept stills of this box: redacted, sealed by camera and day, destroyed in time.",
)

StateOption = Annotated[Path | None, typer.Option("--state", help="Folder of the box.")]
CameraArgument = Annotated[str, typer.Argument(help="Id of the camera.")]
DayArgument = Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Day, UTC: 2026-05-01.")]
WhoOption = Annotated[str, typer.Option("--who", prompt="Who does this (name)", help="Your name; kept in the audit.")]
RoleOption = Annotated[
    str, typer.Option("--role", prompt="In what role (like opj, dpo-ville, operator)", help="a-z, 0-9 and hyphens.")
]
WhyOption = Annotated[str, typer.Option("--why", prompt="Why (reference of the request)", help="Kept in the audit.")]


class ClipsRefusedError(RejectedError):
    """What was asked of the clips cannot be done; the sentence names the thing and the remedy."""


@clips_app.command("list", epilog="Example:  veilleur-agent clips list --state /var/lib/veilleur")
def show_clips(*, state: StateOption = None) -> None:
    """Show what is kept, day by day: how many stills, how old, and until when a day is frozen. No picture is opened."""
    folder = _box_in(state)
    store, frozen = ClipStore(clips_of(folder)), read_freezes(freezes_of(folder))
    facts = measure(clips_of(folder), freezes_of(folder), SystemClock().now_ms())
    table = Table("camera", "day (UTC)", "stills", "age", "frozen until", "reference")
    for one in facts.lain:
        freeze = frozen.get((one.camera, one.day))
        until, reference = ("", "") if freeze is None else (f"{freeze.until}", freeze.reference)
        if (one.camera, one.day) in frozen and freeze is None:
            until, reference = "?", "the freeze cannot be read: freeze the day again"
        age = "key gone" if one.births is None else _said(age_of(one, facts.now))
        table.add_row(one.camera, f"{one.day}", f"{len(store.times(one.camera, one.day))}", age, until, reference)
    console = Console()
    console.print(table)
    oldest = "none" if facts.oldest_s is None else _said(facts.oldest_s)
    console.print(f"{len(facts.lain)} days, {facts.size_bytes} bytes, oldest picture: {oldest}", highlight=False)
    reckoning = store.reckoning()
    if reckoning is not None and not reckoning.is_set:
        console.print(CLOCK_NOT_SET, highlight=False, soft_wrap=True)


@clips_app.command(
    "export",
    epilog="Example:  veilleur-agent clips export avenue 2026-05-01 --since 08:00 --before 08:30 --to requisition-114 "
    "--who 'A. Roux' --role opj --why 'réquisition 26/114'",
)
def export_clips(
    camera: CameraArgument,
    day: DayArgument,
    *,
    to: Annotated[Path, typer.Option("--to", help="Folder for the pictures, new or empty; only you may read it.")],
    who: WhoOption,
    role: RoleOption,
    why: WhyOption,
    since: Annotated[str, typer.Option("--since", help="From this time of the day on, UTC: 08:00.")] = "00:00",
    before: Annotated[str, typer.Option("--before", help="Up to this time, UTC; 24:00 is the whole day.")] = "24:00",
    state: StateOption = None,
) -> None:
    """Take stills of one day out, as JPEG; who, in what role and why stands in the audit before any is opened."""
    folder = _box_in(state)
    entry = ClipsExported(_camera(camera), day.date(), _words("--who", who), _role(role), _words("--why", why))
    first_ms, end_ms = _at_ms(day.date(), since), _at_ms(day.date(), before)
    store = ClipStore(clips_of(folder))
    _check_target(to, folder)
    _check_lies(folder, camera, entry.day)
    if not any(first_ms <= at_ms < end_ms for at_ms in store.times(camera, entry.day)):
        raise ClipsRefusedError(f"{camera} has no still from {since} to {before} on {entry.day}: see clips list")
    write_down(folder, entry, SystemClock())
    chosen = (still for still in store.stills(camera, entry.day) if first_ms <= still.at_ms < end_ms)
    written = _write(to, camera, chosen)
    Console().print(f"{written} stills of {camera}, {entry.day}, are in {to}: delete them when done", highlight=False)


@clips_app.command(
    "freeze",
    epilog="Example:  veilleur-agent clips freeze avenue 2026-05-01 --until 2026-08-01 --reference 'PR Nîmes 26/1234' "
    "--person 'A. Roux' --person 'B. Blanc'",
)
def freeze_clips(
    camera: CameraArgument,
    day: DayArgument,
    *,
    until: Annotated[
        datetime, typer.Option("--until", formats=["%Y-%m-%d"], help="Last day on which it is kept; a year at most.")
    ],
    reference: Annotated[str, typer.Option("--reference", prompt="Reference of the order", help="Of the order.")],
    person: Annotated[list[str], typer.Option("--person", help="Who puts it down; twice, with two names.")],
    state: StateOption = None,
) -> None:
    """Keep one whole day (UTC) of a camera for justice beyond its time: an order, two persons and a last day."""
    folder = _box_in(state)
    if len(person) != PERSONS:
        raise FreezeRejectedError("a freeze is put down by two persons: give --person twice")
    first, second = (_words("--person", one) for one in person)
    freeze = Freeze(_camera(camera), day.date(), until.date(), _words("--reference", reference), (first, second))
    clock = SystemClock()
    check_freeze(freeze, datetime_of(clock.now_ms()).date())
    _check_lies(folder, freeze.camera, freeze.day)
    check_room(freezes_of(folder), freeze)
    write_down(folder, ClipsFrozen(freeze.camera, freeze.day, freeze.until, freeze.reference, freeze.persons), clock)
    put_freeze(freezes_of(folder), freeze)
    _check_lies(folder, freeze.camera, freeze.day)  # it may have gone while the audit was told
    Console().print(f"{camera}, {freeze.day}, is kept to the end of {freeze.until}", highlight=False)


@clips_app.command(
    "release",
    epilog="Example:  veilleur-agent clips release avenue 2026-05-01 --who 'A. Roux' --role opj --why 'affaire close'",
)
def release_clips(
    camera: CameraArgument,
    day: DayArgument,
    *,
    who: WhoOption,
    role: RoleOption,
    why: WhyOption,
    state: StateOption = None,
) -> None:
    """End the freeze of a day: it goes at once when its time is over, else when it is."""
    folder = _box_in(state)
    entry = ClipsReleased(_camera(camera), day.date(), _words("--who", who), _role(role), _words("--why", why))
    if (entry.camera, entry.day) not in read_freezes(freezes_of(folder)):
        raise FreezeRejectedError(f"{camera}, {entry.day}, is not frozen: see veilleur-agent clips list")
    write_down(folder, entry, SystemClock())
    remove_freeze(freezes_of(folder), entry.camera, entry.day)
    Console().print(f"{camera}, {entry.day}, is no longer frozen", highlight=False)


def _box_in(state: Path | None) -> Path:
    folder = settings_of(state=state).state.resolve()
    check_user(folder)
    return folder


def _check_lies(state: Path, camera: str, day: date) -> None:
    keyed = {(one.camera, one.day) for one in ClipStore(clips_of(state)).lain() if one.births is not None}
    if (camera, day) not in keyed:
        raise ClipsRefusedError(f"nothing is kept of {camera} on {day}: see veilleur-agent clips list")


def _check_target(to: Path, state: Path) -> None:
    if to.resolve().is_relative_to(state):
        raise ClipsRefusedError(f"{to} lies in the state folder of the box: give another folder")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ClipsRefusedError(f"{to} is not an empty folder: give a new one")


def _write(to: Path, camera: str, stills: Iterator[Still]) -> int:
    """Write the pictures, readable by their new owner alone; return how many."""
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    many = 0
    for still in stills:
        stamp = datetime_of(still.at_ms).strftime("%Y-%m-%dT%H-%M-%S")
        path = to / f"{camera}_{stamp}-{still.at_ms % 1000:03d}Z.jpg"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(still.jpeg)
        many += 1
    return many


def _at_ms(day: date, text: str) -> int:
    """Return the UTC milliseconds of a time of ``day``; 24:00 is its end."""
    hour, _, minute = text.partition(":")
    try:
        is_end = text == "24:00"
        at = time(23, 59) if is_end else time(int(hour), int(minute))
    except ValueError:
        raise ClipsRefusedError(f"{text} is no time of a day: write it like 08:30") from None
    start_ms = int(datetime.combine(day, at, UTC).timestamp() * 1000)
    return start_ms + 60_000 if is_end else start_ms


def _camera(text: str) -> str:
    if not is_slug(text):
        raise ClipsRefusedError(f"{text[:40]!r} is no id of a camera: see veilleur-agent clips list")
    return text


def _role(text: str) -> str:
    if not is_slug(text):
        raise ClipsRefusedError("--role is a word of a-z, 0-9 and hyphens, at most 32: like opj or dpo-ville")
    return text


def _words(option: str, text: str) -> str:
    if not text.strip() or len(text) > WORDS_MAX or not text.isprintable():
        raise ClipsRefusedError(f"{option} takes 1 to {WORDS_MAX} printable characters")
    return text.strip()


def _said(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86_400)
    return f"{days} d {rest // 3600} h"
