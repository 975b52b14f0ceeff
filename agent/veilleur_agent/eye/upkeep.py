"""Keep redacted stills where that is allowed, and let them go in time; tell of every day that goes.

    Analysed ─▶ Stills ─▶ RedactedFrame ─▶ JPEG ─▶ ClipStore (sealed)
                                                      ▲
    every hour, at start, at every change ─▶ doomed_of ┘─▶ key destroyed ─▶ told ─▶ file removed

A disk that refuses stops the keeping and never the eye.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from veilleur_agent.clip_facts import facts_of, held_of
from veilleur_agent.clip_store import ClipsFullError, ClipStore, ClipsUnwritableError
from veilleur_agent.events import Tell
from veilleur_agent.eye.clips import StillRejectedError, still_of
from veilleur_agent.eye.retention import (
    CameraDay,
    Doomed,
    Reckoning,
    begin,
    doomed_of,
    jump_ms_of,
    reckon,
)
from veilleur_agent.eye.scheduler import Analysed
from veilleur_agent.eye.settings import EyeSettings
from veilleur_agent.eye.stills import Checks, Detectors, Stills
from veilleur_agent.freezes import last_days_of, read_freezes
from veilleur_contracts.audit import ClipsDestroyed, ClockJumped
from veilleur_contracts.clock import Clock
from veilleur_contracts.messages import ClipFault, ClipsHeld
from veilleur_contracts.policy import Mask

if TYPE_CHECKING:
    from datetime import date

LOOKED_AT_EVERY_S: Final = 3600.0
RECKONED_EVERY_S: Final = 60.0
REFUSED_EVERY_S: Final = 600.0
DESTROYED_AT_ONCE: Final = 64
"""Keys in one turn: each waits for the disk twice, and box ends an eye that is silent for too long."""
SAID_EVERY_S: Final = 60.0
BY_S_MAX: Final = 0xFFFF_FFFF
FAULT_OF: Final = {"full": ClipFault.FULL, "key": ClipFault.KEY_NOT_DESTROYED}


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one camera's pictures may do now.

    Attributes:
        keeps: Whether new ones may be kept.
        days: How long those that are kept may live.
        masks: What is burnt out of its frames; a still is begun anew when they change.
    """

    keeps: bool
    days: int
    masks: frozenset[Mask] = frozenset()


class Upkeep:
    """The clips of one box, as the eye keeps them; bounded by the store.

    Args:
        store: Where they lie.
        freezes: Folder of the freezes.
        stills: Takes them, for each camera that should keep some.
        clock: Of this machine.
        tell: Says a registered event.
        is_set: Whether the clock is known to be set.
    """

    def __init__(
        self, store: ClipStore, freezes: Path, stills: Mapping[str, Stills], *, clock: Clock, tell: Tell, is_set: bool
    ) -> None:
        self._store = store
        self._freezes = freezes
        self._stills = stills
        self._clock = clock
        self._tell = tell
        self._is_set = is_set
        self._at_s = self._kept_at_s = clock.elapsed_s()
        self._looked_at_s: float | None = None
        self._allowed: Mapping[str, Allowed] = {}
        self._freezes_at_ns = 0
        self._newest: dict[str, date] = {}
        self._keeping: dict[str, str] = {}
        self._was_set: bool | None = None
        self._told_gone: set[CameraDay] = set()
        self._refused_at_s: dict[str, float] = {}
        self._fault_at_s: dict[ClipFault, float] = {}
        self._said_at_s = clock.elapsed_s() - LOOKED_AT_EVERY_S
        self._said_faults = 0
        self._is_news = True
        self._jumped_ms = 0
        self._is_ready = self._prepare()
        self._now = self._reckoned_at_start()

    def take(self, analysed: Analysed, *, in_good_view: bool) -> None:
        """Take in an analysed frame; keep a still of it when one is due and allowed."""
        camera = analysed.frame.camera
        stills = self._stills.get(camera)
        if stills is None:
            return
        allowed = self._allowed.get(camera)
        if not (self._is_ready and self._is_set and in_good_view and allowed is not None and allowed.keeps):
            stills.drop()
            return
        withheld = stills.withheld
        shown = stills.take(analysed, self._clock.elapsed_s())
        if stills.withheld != withheld:
            self._tell("still.withheld", camera=camera)
        if shown is None:
            return
        try:
            day = self._store.add(camera, shown.at_ms, still_of(shown), self._reckon())
            self._is_news |= self._newest.get(camera) != day
            self._newest[camera] = day
        except ClipsFullError:
            self._refuse("full")
        except (ClipsUnwritableError, StillRejectedError):
            self._refuse("disk")

    def turn(self, allowed: Mapping[str, Allowed], *, is_set: bool) -> tuple[ClipsDestroyed | ClockJumped, ...]:
        """Do what is due; return what belongs into the audit.

        Args:
            allowed: By camera; one that is not named may keep nothing, nor what it kept.
            is_set: Whether the clock is known to be set.
        """
        self._is_set = is_set
        is_changed = allowed != self._allowed or self._are_freezes_changed()
        for camera, stills in self._stills.items():
            if allowed.get(camera) != self._allowed.get(camera):
                stills.drop()
        self._allowed = allowed
        self._tell_keeping()
        now_s = self._clock.elapsed_s()
        self._reckon()
        happened: list[ClipsDestroyed | ClockJumped] = []
        is_jumped = self._jumped_ms != 0
        if is_jumped:
            happened.append(self._jump())
        if now_s - self._kept_at_s >= RECKONED_EVERY_S or is_jumped or is_set is not self._was_set:
            self._keep_reckoning()
        is_due = self._looked_at_s is None or now_s - self._looked_at_s >= LOOKED_AT_EVERY_S
        if self._is_ready or self._prepare():
            self._remove_told()
            if is_due or is_changed or is_jumped:
                self._looked_at_s = now_s
                happened.extend(self._destroy())
        return tuple(happened)

    def due(self) -> list[ClipsHeld]:
        """Return what the store holds, measured, when it is time to say so; nothing where nothing is or was kept."""
        now_s = self._clock.elapsed_s()
        faults = sum(fault for fault, at_s in self._fault_at_s.items() if now_s - at_s < REFUSED_EVERY_S)
        is_news = self._is_news or faults != self._said_faults
        since_s = now_s - self._said_at_s
        if since_s < SAID_EVERY_S or (not is_news and since_s < LOOKED_AT_EVERY_S):
            return []
        try:
            facts = facts_of(self._store, self._freezes, self._now)
        except OSError:
            self._refuse("store")
            return []
        self._said_at_s, self._said_faults, self._is_news = now_s, faults, False
        is_worth_it = facts.lain or self._stills or faults
        return [held_of(facts, self._clock.now_ms() // 1000, faults)] if is_worth_it else []

    def close(self) -> None:
        """Keep the reckoning, at a stop."""
        self._reckon()
        self._keep_reckoning()

    def _prepare(self) -> bool:
        try:
            self._store.prepare()
        except OSError:
            self._is_ready = False
            self._refuse("store")
        else:
            self._is_ready = True
        return self._is_ready

    def _reckoned_at_start(self) -> Reckoning:
        wall_ms = self._clock.now_ms()
        before = self._store.reckoning()
        if before is None:
            try:
                lain = self._store.lain()
            except OSError:
                self._refuse("store")
                lain = []
            return begin(wall_ms, lain, is_set=self._is_set)
        self._jumped_ms = jump_ms_of(before, wall_ms, 0, is_running=False)
        return reckon(before, wall_ms, 0, is_set=self._is_set, is_running=False)

    def _reckon(self) -> Reckoning:
        now_s = self._clock.elapsed_s()
        elapsed_ms = round((now_s - self._at_s) * 1000)
        wall_ms = self._clock.now_ms()
        self._at_s = now_s
        self._jumped_ms = self._jumped_ms or jump_ms_of(self._now, wall_ms, elapsed_ms)
        self._now = reckon(self._now, wall_ms, elapsed_ms, is_set=self._is_set)
        return self._now

    def _jump(self) -> ClockJumped:
        by_s = max(-BY_S_MAX, min(BY_S_MAX, self._jumped_ms // 1000))
        self._jumped_ms = 0
        self._fault_at_s[ClipFault.CLOCK_JUMPED] = self._clock.elapsed_s()
        self._tell("clock.jumped", by_s=by_s)
        return ClockJumped(by_s)

    def _keep_reckoning(self) -> None:
        self._kept_at_s, self._was_set = self._clock.elapsed_s(), self._is_set
        try:
            self._store.keep_reckoning(self._now)
        except OSError:
            self._refuse("reckoning")

    def _are_freezes_changed(self) -> bool:
        """Tell whether a freeze was put down or taken away since the last turn."""
        try:
            at_ns = self._freezes.stat().st_mtime_ns
        except OSError:
            at_ns = 0
        before, self._freezes_at_ns = self._freezes_at_ns, at_ns
        return at_ns != before

    def _tell_keeping(self) -> None:
        """Say of each camera that should keep stills whether it does, and why not, whenever that changes."""
        for camera in self._stills:
            one = self._allowed.get(camera)
            is_allowed = one is not None and one.keeps
            why = "not-allowed" if not is_allowed else "none" if self._is_set else "clock"
            if self._keeping.get(camera) != why:
                self._keeping[camera] = why
                self._tell("camera.keeping_changed", camera=camera, keeps=why == "none", why=why)

    def _destroy(self) -> Iterator[ClipsDestroyed]:
        """Destroy the keys of the days that must go; their files follow once that is told.

        What could not be done now, because the disk refuses or there are too many, is tried at the next turn.
        """
        try:
            lain, frozen = self._store.lain(), last_days_of(read_freezes(self._freezes))
        except OSError:
            self._refuse("store")
            self._looked_at_s = None
            return
        days = {camera: one.days for camera, one in self._allowed.items()}
        all_doomed = doomed_of(lain, days, frozen, self._now)
        must_go = [one for one in all_doomed if (one.camera, one.day) not in self._told_gone]
        for doomed in must_go[:DESTROYED_AT_ONCE]:
            if self._is_key_destroyed(doomed):
                self._is_news = True
                self._told_gone.add((doomed.camera, doomed.day))
                self._tell("clips.destroyed", camera=doomed.camera, why=doomed.why.value)
                yield ClipsDestroyed(doomed.camera, doomed.day)
            else:
                self._looked_at_s = None
        if len(must_go) > DESTROYED_AT_ONCE:
            self._looked_at_s = None

    def _is_key_destroyed(self, doomed: Doomed) -> bool:
        try:
            self._store.destroy_key(doomed.camera, doomed.day)
        except OSError:
            self._refuse("key")
            return False
        return True

    def _remove_told(self) -> None:
        for camera, day in list(self._told_gone):
            try:
                self._store.remove(camera, day)
            except OSError:
                self._refuse("store")
            else:
                self._told_gone.discard((camera, day))

    def _refuse(self, what: str) -> None:
        """Tell that the disk refuses, now and then."""
        now_s = self._clock.elapsed_s()
        self._fault_at_s[FAULT_OF.get(what, ClipFault.DISK_REFUSES)] = now_s
        if now_s - self._refused_at_s.get(what, -REFUSED_EVERY_S) >= REFUSED_EVERY_S:
            self._refused_at_s[what] = now_s
            self._tell("clips.refused", what=what)


def upkeep_of(settings: EyeSettings, detectors: Detectors, clock: Clock, tell: Tell) -> Upkeep:
    """Return the upkeep of a box's clips; without a detector of faces it keeps nothing, and lets go what lies there."""
    stills = {}
    if detectors.faces is not None:
        checks = Checks(detectors.people, detectors.faces)
        wanted = ((one, one.keep) for one in settings.site.camera if one.keep is not None)
        stills = {camera.id: Stills(keep.still_s, checks) for camera, keep in wanted}
    store = ClipStore(settings.clips or settings.checkpoint.with_name("clips"))
    freezes = settings.freezes or settings.checkpoint.with_name("freezes")
    return Upkeep(store, freezes, stills, clock=clock, tell=tell, is_set=settings.trusts_clock)
